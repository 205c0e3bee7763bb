// Copies what a FlexSearch index holds, in one turn: its lists of ids as numbers, and where its terms and stored
// documents are. `export()` would make JSON of the lists, which takes longer and has to be parsed again.

import { assertId, documentJson } from '../encodings/json-value.ts'
import { positionsIn } from '../encodings/positions.ts'
import type { InvertedIndex, Rows } from '../encodings/posting-rows.ts'
import type { Id } from '../encodings/read-posting-rows.ts'
import { longer } from '../encodings/term-table.ts'
import { HoldfastError } from '../index.ts'

/** `map` has the terms of a field, `ctx` the pairs of terms that stand near each other, and `tag` the tags. */
export type Kind = 'map' | 'ctx' | 'tag'

/** The blob `head`. */
export interface Head {
  fields: [name: string, kind: Kind][]
  /** There is a store of documents. */
  stored: boolean
}

/** What was copied. */
interface FlexSearchCopy {
  head: Head
  /**
   * A row for each id of the register, in its order: that in which documents were added. Their text is made when they
   * are written.
   */
  rows: Rows
  /** Its documents are positions in the register. */
  index: Omit<InvertedIndex, 'order'>
  /** The lines of the blob `lists`. */
  leftovers: string[]
}

/** Between a keyword and its term, where both are one term of a row. */
export const SEPARATOR = '\0'

const NAME = 'FlexSearch'

type Ids = ArrayLike<Id>
interface Entries<Value> {
  entries(): Iterable<readonly [unknown, Value]>
}
interface Store extends Entries<unknown> {
  readonly size: number
  get(id: unknown): unknown
  has(id: unknown): boolean
}
type Slots = ArrayLike<Ids | null | undefined>

interface IndexInside {
  reg: { keys(): Iterable<unknown> }
  map: Entries<Slots>
  ctx: Entries<Entries<Slots>>
}

interface DocumentInside {
  reg: IndexInside['reg']
  field: readonly string[]
  index: { get(field: string): IndexInside | undefined }
  tag?: Entries<Entries<Ids>> | null
  store?: Store | null
}

/** Copies `engine`, an Index or a Document. `ENGINE_MISMATCH`: it is not built as FlexSearch 0.8. */
export function copyOf(engine: object): FlexSearchCopy {
  const isOne = isIndex(engine)
  if (!isOne && !isDocument(engine)) throw notKnown('it has not the parts of an Index or a Document')
  const register: Id[] = []
  for (const id of engine.reg.keys()) {
    assertId(NAME, id)
    register.push(id as Id)
  }
  const head: Head = { fields: [], stored: false }
  const lists = createLists(register)
  if (isOne) addIndex(head, lists, '', engine)
  else {
    for (const name of engine.field) {
      const index = engine.index.get(name)
      if (!isIndex(index)) throw notKnown(`its field ${JSON.stringify(name)} has no index: a worker may have it`)
      addIndex(head, lists, name, index)
    }
    addTags(head, lists, engine.tag)
  }
  const stored = isOne ? null : (engine.store ?? null)
  head.stored = stored !== null
  const { index, leftovers } = lists.done()
  leftovers.sort()
  return { head, rows: rowsOf(register, stored, leftovers), index, leftovers }
}

/** Adds the documents of no id in the register to `leftovers`. */
function rowsOf(register: readonly Id[], stored: Store | null, leftovers: string[]): Rows {
  const documents: unknown[] = []
  let found = 0
  for (const id of stored === null ? [] : register) {
    const document = stored!.get(id)
    const isStored = document !== undefined || stored!.has(id)
    if (isStored) found += 1
    // What has no JSON text is null there.
    documents.push(isStored ? (document ?? null) : undefined)
  }
  if (stored !== null && found < stored.size) {
    const known = new Set<unknown>(register)
    for (const [id, document] of stored.entries()) {
      if (!known.has(id)) leftovers.push(`[null,${jsonOf(id, id)},${jsonOf(id, document)}]`)
    }
  }
  return {
    count: register.length,
    row(n) {
      const id = register[n]!
      const document = documents[n]
      return { id, document: document === undefined ? '' : jsonOf(id, document) }
    },
  }
}

function isIndex(engine: object | undefined): engine is IndexInside {
  const { reg, map, ctx } = (engine ?? {}) as Partial<Record<keyof IndexInside, unknown>>
  return hasMethod(reg, 'keys') && isMap(map) && isMap(ctx)
}

function isDocument(engine: object): engine is DocumentInside {
  const { reg, field, index, tag, store } = engine as Partial<Record<keyof DocumentInside, unknown>>
  return (
    hasMethod(reg, 'keys') &&
    Array.isArray(field) &&
    hasMethod(index, 'get') &&
    [tag, store].every((part) => part === undefined || part === null || isMap(part))
  )
}

/** Not an array, which has `entries` as well. */
function isMap(value: unknown): boolean {
  return hasMethod(value, 'entries') && hasMethod(value, 'get')
}

function hasMethod(value: unknown, name: string): boolean {
  return typeof value === 'object' && value !== null && typeof (value as Record<string, unknown>)[name] === 'function'
}

function notKnown(why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `this FlexSearch cannot be saved: ${why}`, {
    details: { what: 'version', saved: why, wanted: '0.8' },
  })
}

/** As in the JSON of a list, where what has no JSON text is null. */
function jsonOf(id: unknown, document: unknown): string {
  try {
    return JSON.stringify(document) ?? 'null'
  } catch {
    return documentJson(NAME, id, document)
  }
}

function addIndex({ fields }: Head, lists: Lists, name: string, { map, ctx }: IndexInside): void {
  let isNew = true
  function addSlots(keyword: unknown, term: unknown, slots: Slots, kind: Kind): void {
    if (isNew) lists.begin(fields.push([name, kind]) - 1)
    isNew = false
    lists.add(keyword, term, slots)
  }
  for (const [term, slots] of map.entries()) addSlots(null, term, slots, 'map')
  isNew = true
  for (const [keyword, terms] of ctx.entries()) {
    for (const [term, slots] of terms.entries()) addSlots(keyword, term, slots, 'ctx')
  }
}

function addTags({ fields }: Head, lists: Lists, tags: DocumentInside['tag']): void {
  for (const [name, values] of tags?.entries() ?? []) {
    lists.begin(fields.push([String(name), 'tag']) - 1)
    for (const [value, ids] of values.entries()) lists.add(null, value, [ids])
  }
}

interface Lists {
  /** The lists that follow are of this field. */
  begin(field: number): void
  /** The lists of a term. A tag may be another value than text. */
  add(keyword: unknown, term: unknown, slots: Slots): void
  done(): { index: Omit<InvertedIndex, 'order'>; leftovers: string[] }
}

function createLists(register: readonly Id[]): Lists {
  const positionOf = positionsIn(register)
  const terms: string[] = []
  const fieldStart: number[] = []
  const termStart: number[] = []
  const slotOf: number[] = []
  const listStart: number[] = []
  let documents = new Uint32Array(1024)
  let filled = 0
  let field = 0
  const leftovers: string[] = []

  /** False: it does not follow the order of the register, or has nothing. Then it is kept as it is. */
  function append(ids: Ids): boolean {
    const count = ids.length
    if (filled + count > documents.length) documents = longer(documents, 2 * (filled + count))
    let before = -1
    for (let n = 0; n < count; n++) {
      const at = positionOf(ids[n]!)
      if (at <= before) return false
      documents[filled + n] = at
      before = at
    }
    listStart.push(filled)
    filled += count
    return count > 0
  }

  return {
    begin(next) {
      field = next
      fieldStart.push(terms.length)
    },
    add(keyword, term, slots) {
      const text = textOf(keyword, term)
      let isNew = true
      for (let slot = 0; slot < slots.length; slot++) {
        const ids = slots[slot]
        if (ids === undefined || ids === null) continue
        if (text === null || ids.length === 0 || !append(ids)) {
          // `fastupdate` leaves empty slots behind; a term that has only those is not the same as no term.
          leftovers.push(JSON.stringify([field, keyword, term, slot, ids]))
          continue
        }
        if (isNew) {
          terms.push(text)
          termStart.push(slotOf.length)
          isNew = false
        }
        slotOf.push(slot)
      }
    },
    done() {
      fieldStart.push(terms.length)
      termStart.push(slotOf.length)
      listStart.push(filled)
      const own = { terms, fieldStart, termStart, slots: { lists: slotOf } }
      return { index: { ...own, listStart, documents: documents.subarray(0, filled) }, leftovers }
    },
  }
}

/** The term as a row has it; null if no row can have it. */
function textOf(keyword: unknown, term: unknown): string | null {
  if (typeof term !== 'string') return null
  if (keyword === null) return term
  if (typeof keyword !== 'string' || keyword.includes(SEPARATOR)) return null
  return keyword + SEPARATOR + term
}
