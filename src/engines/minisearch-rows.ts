// Makes the blobs of a copied MiniSearch: a row for each document, and the order of the term tree.

import { assertId, documentJson } from '../encodings/json-value.ts'
import { positionsIn } from '../encodings/positions.ts'
import { encodeRows, type InvertedIndex, type Rows } from '../encodings/posting-rows.ts'
import { encodeTermOrder } from '../encodings/term-order.ts'
import { STEPS, type Turn } from '../event-loop.ts'
import type { Documents, Postings } from './minisearch-capture.ts'

const NAME = 'MiniSearch'

/** Made when it is read: nobody has to wait for it at the capture. */
export async function* termOrder({ terms, sorted }: Postings, turn: Turn): AsyncGenerator<Uint8Array> {
  yield await encodeTermOrder(terms, await sorted(), turn)
}

/** The index turned round: documents by short id, with their terms. */
export async function* documentRows(
  documents: Documents,
  postings: Postings,
  fields: readonly number[],
  turn: Turn,
): AsyncGenerator<Uint8Array> {
  const shortIds = await shortIdsOf(documents, postings, turn)
  const index = await indexOf(postings, fields, shortIds, turn)
  yield* encodeRows(index, rowsOf(documents, shortIds), turn)
}

/** Of all documents, ascending; also of those discarded but not yet vacuumed, of which there are only terms. */
async function shortIdsOf({ documentIds }: Documents, { documents }: Postings, turn: Turn): Promise<number[]> {
  // Integers come first and in order, whatever they were inserted as.
  const known = Object.keys(documentIds).map(Number)
  const placeOf = positionsIn(known)
  const discarded = new Set<number>()
  for (let at = 0; at < documents.length; at++) {
    if (placeOf(documents[at]!) === -1) discarded.add(documents[at]!)
    if (at % (4 * STEPS) === 0) await turn()
  }
  return discarded.size === 0 ? known : [...known, ...discarded].sort((a, b) => a - b)
}

async function indexOf(
  { terms, sorted, listTerm, listField, listStart, documents, frequencies }: Postings,
  fields: readonly number[],
  shortIds: readonly number[],
  turn: Turn,
): Promise<InvertedIndex> {
  const placeOf = positionsIn(shortIds)
  const rows = new Uint32Array(documents.length)
  for (let at = 0; at < documents.length; at++) {
    rows[at] = placeOf(documents[at]!)
    if (at % (4 * STEPS) === 0) await turn()
  }
  const termStart = new Uint32Array(terms.length + 1)
  for (const term of listTerm) termStart[term + 1]! += 1
  for (let term = 0; term < terms.length; term++) termStart[term + 1]! += termStart[term]!
  await turn()
  // Lists by field, and those of a field by term.
  const byField = new Map(fields.map((field): [number, number[]] => [field, []]))
  let steps = 0
  for (const term of await sorted()) {
    for (let list = termStart[term]!; list < termStart[term + 1]!; list++) byField.get(listField[list]!)!.push(list)
    steps += 1
    if (steps % STEPS === 0) await turn()
  }
  const order = new Uint32Array(listTerm.length)
  const fieldStart = [0]
  for (const lists of byField.values()) {
    order.set(lists, fieldStart.at(-1)!)
    fieldStart.push(fieldStart.at(-1)! + lists.length)
    await turn()
  }
  const ofLists = listTerm.map((term) => terms[term]!)
  return { terms: ofLists, order, fieldStart, slots: { postings: frequencies }, listStart, documents: rows }
}

function rowsOf({ documentIds, fieldLength, storedFields }: Documents, shortIds: readonly number[]): Rows {
  return {
    count: shortIds.length,
    row(n) {
      const shortId = shortIds[n]!
      if (!Object.hasOwn(documentIds, shortId)) return { id: shortId, document: '' }
      const id = documentIds[shortId]
      assertId(NAME, id)
      const document = [id, fieldLength[shortId] ?? null]
      if (Object.hasOwn(storedFields, shortId)) document.push(storedFields[shortId])
      return { id: shortId, document: documentJson(NAME, id, document) }
    },
  }
}
