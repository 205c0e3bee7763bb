// A sortable property of an Orama index: documents in the order of their values, and a position for each document.
// Positions may have gaps where documents were removed. The values are in the documents, so a line has only the rest:
//
//    id                       at the next position, with the document's own value
//    [id, position]           at another position; null if it has none
//    [id, position, value]    with another value
//    [id, position, text, 0]  with a number without JSON text: "NaN", "Infinity", "-Infinity"
//    { id: position, … }      at the end: positions of documents that are not in the order

import type { Turn } from '../event-loop.ts'

export interface Sort {
  type: string
  docs: Record<string, number>
  orderedDocs: [document: number, value: unknown][]
}

export type SavedSort = Omit<Sort, 'type'>

/** Values looked up between two looks at the clock. */
const ROWS = 256

type ValueIn = (document: object) => unknown

export function* sortLines(
  { docs, orderedDocs }: SavedSort,
  documents: Readonly<Record<string, object>>,
  valueIn: ValueIn,
): Generator<string> {
  const left = new Set(Object.keys(docs))
  let expected = 0
  for (const [document, value] of orderedDocs) {
    const position = docs[document] ?? null
    left.delete(String(document))
    const stored = documents[document]
    const derived = stored !== undefined && Object.is(valueIn(stored), value)
    if (!derived) yield `[${document},${position},${valueText(value)}]`
    else if (position !== expected) yield `[${document},${position}]`
    else yield `${document}`
    expected = (position ?? expected - 1) + 1
  }
  if (left.size > 0) yield JSON.stringify(Object.fromEntries([...left].map((document) => [document, docs[document]])))
}

function valueText(value: unknown): string {
  if (typeof value === 'number' && !Number.isFinite(value)) return `"${value}",0`
  return JSON.stringify(value) ?? 'null'
}

type Row = number | [document: number, position: number | null, value?: unknown, kind?: 0] | Record<string, number>

export async function readSort(
  lines: AsyncIterable<unknown[]>,
  documents: Readonly<Record<string, object>>,
  valueIn: ValueIn,
  turn: Turn,
): Promise<SavedSort> {
  const docs: Record<string, number> = {}
  const orderedDocs: SavedSort['orderedDocs'] = []
  let expected = 0
  for await (const rows of lines) {
    for (const row of rows as Row[]) {
      if (orderedDocs.length % ROWS === 0) await turn()
      if (typeof row === 'object' && !Array.isArray(row)) {
        Object.assign(docs, row)
        continue
      }
      const document = typeof row === 'number' ? row : row[0]
      const position = typeof row === 'number' ? expected : row[1]
      const value = typeof row === 'object' && row.length > 2 ? sortedValue(row) : valueIn(documents[document]!)
      orderedDocs.push([document, value])
      if (position !== null) docs[document] = position
      expected = (position ?? expected - 1) + 1
    }
  }
  return { docs, orderedDocs }
}

function sortedValue(row: readonly unknown[]): unknown {
  return row.length > 3 ? Number(row[2]) : row[2]
}
