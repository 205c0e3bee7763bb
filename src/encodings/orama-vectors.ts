// A vector property of Orama: for each document its vector and magnitude. Vectors are in the documents already, as
// numbers of double precision, so usually there is nothing to say. A line is an exception:
//
//    [id]                       the document has a vector, and the index does not
//    [id, magnitude, [values]]  another vector than the document's
//    [0, [ids]]                 at the end: all documents in order, when that is not the order of the documents
//
// A magnitude or a value that JSON has no text for is a string: "NaN", "Infinity", "-Infinity".

export type VectorEntry = [document: number, [magnitude: number, vector: ArrayLike<number>]]

type ValueIn = (document: object) => unknown

export function* vectorLines(
  entries: readonly VectorEntry[],
  documents: Readonly<Record<string, object>>,
  valueIn: ValueIn,
  size: number,
  rank: Uint32Array,
): Generator<string> {
  const known = new Set<number>()
  let inOrder = true
  let before = -1
  for (const [document, [magnitude, vector]] of entries) {
    known.add(document)
    const position = rank[document]!
    inOrder &&= position > before
    before = position
    const stored = documents[document]
    const derived = stored === undefined ? null : derive(valueIn(stored), size)
    if (derived !== null && derived[0] === magnitude && equal(derived[1], vector)) continue
    inOrder &&= stored !== undefined
    yield `[${document},${numberText(magnitude)},[${Array.from(vector, numberText).join()}]]`
  }
  for (const [document, stored] of Object.entries(documents)) {
    if (!known.has(Number(document)) && Array.isArray(valueIn(stored))) yield `[${document}]`
  }
  if (!inOrder) yield `[0,${JSON.stringify(entries.map(([document]) => document))}]`
}

function numberText(value: number): string {
  return Number.isFinite(value) ? JSON.stringify(value) : `"${value}"`
}

/** As Orama makes it: 32-bit floats, and the root of the sum of their squares. */
function derive(value: unknown, size: number): VectorEntry[1] | null {
  if (!Array.isArray(value)) return null
  const vector = new Float32Array(value as number[])
  let squares = 0
  for (let i = 0; i < size; i++) squares += vector[i]! * vector[i]!
  return [Math.sqrt(squares), vector]
}

function equal(a: ArrayLike<number>, b: ArrayLike<number>): boolean {
  if (a.length !== b.length) return false
  for (let i = 0; i < a.length; i++) if (a[i] !== b[i]) return false
  return true
}

/** `documents`: in the order in which they were indexed. */
export async function readVectors(
  lines: AsyncIterable<unknown[]>,
  documents: ReadonlyMap<number, object>,
  valueIn: ValueIn,
  size: number,
): Promise<VectorEntry[]> {
  const exceptions = new Map<number, VectorEntry[1] | null>()
  let order: number[] | null = null
  for await (const rows of lines) {
    for (const row of rows as [number, (number | string | number[])?, (number | string)[]?][]) {
      const [document, magnitude, vector] = row
      if (document === 0) order = magnitude as number[]
      else exceptions.set(document, row.length === 1 ? null : [Number(magnitude), vector!.map(Number)])
    }
  }
  const entries: VectorEntry[] = []
  for (const document of order ?? documents.keys()) {
    const exception = exceptions.get(document)
    if (exception === null) continue
    const stored = documents.get(document)
    const entry = exception ?? (stored === undefined ? null : derive(valueIn(stored), size))
    if (entry !== null) entries.push([document, entry])
  }
  return entries
}
