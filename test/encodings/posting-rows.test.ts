import fc from 'fast-check'
import { expect, test } from 'vitest'
import { collectPostings, type PostingColumns } from '../../src/encodings/posting-columns.ts'
import { encodeRows, type InvertedIndex, type RowTexts, sortedTerms } from '../../src/encodings/posting-rows.ts'
import { type Id, type PostingSink, type ReadRows, readRows } from '../../src/encodings/read-posting-rows.ts'
import { createSlotLists, type SlotListsOfTerms } from '../../src/encodings/slot-lists.ts'
import { isHoldfastError } from '../../src/index.ts'
import { random } from '../engines/text.ts'
import { rounds, sample } from '../support/effort.ts'

/** By field, by term, by slot: rows. */
type Lists = Map<string, Map<number, number[]>>[]

function indexOf(fields: Lists): Omit<InvertedIndex, 'order'> {
  const terms: string[] = []
  const fieldStart = [0]
  const termStart = [0]
  const slots: number[] = []
  const listStart = [0]
  const documents: number[] = []
  for (const field of fields) {
    for (const [term, lists] of field) {
      terms.push(term)
      for (const [slot, rows] of [...lists].sort(([a], [b]) => a - b)) {
        slots.push(slot)
        documents.push(...rows)
        listStart.push(documents.length)
      }
      termStart.push(slots.length)
    }
    fieldStart.push(terms.length)
  }
  return { terms, fieldStart, termStart, slots: { lists: slots }, listStart, documents: Uint32Array.from(documents) }
}

const turn = (): undefined => undefined

async function bytesOf(index: Omit<InvertedIndex, 'order'>, rows: readonly (RowTexts | null)[]): Promise<Buffer> {
  const order = await sortedTerms(index, turn)
  const parts: Uint8Array[] = []
  const given = { count: rows.length, row: (n: number) => rows[n]! }
  for await (const part of encodeRows({ ...index, order }, given, turn)) parts.push(part)
  return Buffer.concat(parts)
}

async function encoded(fields: Lists, rows: readonly RowTexts[]): Promise<Buffer> {
  return await bytesOf(indexOf(fields), rows)
}

/** Reads `bytes` in parts that end at `cuts`. */
async function readInto<Sink extends PostingSink>(
  bytes: Uint8Array,
  fields: number,
  createSink: () => Sink,
  cuts: readonly number[] = [],
): Promise<ReadRows<Sink>> {
  async function* parts(): AsyncGenerator<Uint8Array> {
    let at = 0
    for (const cut of [...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]) {
      yield bytes.subarray(at, cut)
      at = cut
    }
  }
  return await readRows(parts(), { fields, size: bytes.length }, createSink)
}

interface Read {
  ids: Id[]
  documents: [row: number, document: unknown][]
  fields: SlotListsOfTerms[]
}

async function read(bytes: Uint8Array, fields: number, cuts: readonly number[] = []): Promise<Read> {
  const { ids, documents, sinks } = await readInto(bytes, fields, createSlotLists, cuts)
  const all: SlotListsOfTerms[] = []
  for (let n = 0; n < fields; n++) all.push((await sinks[n]?.done(ids, turn)) ?? { terms: [], lists: [] })
  return { ids, documents, fields: all }
}

/** What was read, as it was given. */
function listsOf({ ids, fields }: Read): Lists {
  const rowOf = new Map(ids.map((id, row) => [id, row]))
  return fields.map(
    ({ terms, lists }) =>
      new Map(
        terms.map((term, n) => {
          const bySlot = Object.entries(lists[n]!).map(([slot, own]) => [Number(slot), own.map((id) => rowOf.get(id)!)])
          return [term, new Map(bySlot as [number, number[]][])]
        }),
      ),
  )
}

const text = fc.oneof(
  fc.string({ unit: fc.constantFrom('a', 'b'), maxLength: 40 }),
  fc.string({ unit: 'binary', maxLength: 6 }),
  // Halves of pairs, and pairs.
  fc.string({ unit: fc.constantFrom('\ud83d', '\ude00', '\ufeff', '\ud7ff', 'a'), maxLength: 6 }),
)
const slot = fc.oneof(fc.nat({ max: 20 }), fc.nat({ max: 300_000 }))
const id = fc.oneof(
  fc.nat({ max: 200 }),
  fc.constantFrom(2 ** 52 - 1, 2 ** 52, -1, 1.5, 1e300),
  text,
  fc.string({ unit: fc.constantFrom('\ud800', '\\', '"') }),
  fc.boolean(),
)
const row = fc.record({ id, document: fc.oneof(fc.constant(''), fc.json()) })
const rows = fc.uniqueArray(row, { maxLength: 12, selector: (each) => each.id })

test('gives back every row and every list, whatever the parts in which it is read', async () => {
  await fc.assert(
    fc.asyncProperty(
      rows,
      fc.array(fc.array(fc.tuple(text, slot, fc.array(fc.nat({ max: 11 }))), { maxLength: 12 }), { maxLength: 4 }),
      fc.array(fc.nat()),
      async (given, choices, cuts) => {
        const fields: Lists = choices.map((choice) => {
          const field: Lists[number] = new Map()
          for (const [term, of, chosen] of choice) {
            const own = [...new Set(chosen)].filter((n) => n < given.length).sort((a, b) => a - b)
            if (own.length > 0) field.set(term, (field.get(term) ?? new Map()).set(of, own))
          }
          return field
        })
        const bytes = await encoded(fields, given)
        const got = await read(bytes, fields.length, cuts)
        expect(got.ids).toEqual(given.map((each) => each.id))
        expect(got.documents).toEqual(
          given.flatMap(({ document }, row) => (document === '' ? [] : [[row, JSON.parse(document)]])),
        )
        expect(listsOf(got)).toEqual(fields)
        // What was read is written as it was, in whatever order the terms come.
        expect(await encoded(listsOf(got), given)).toEqual(bytes)
      },
    ),
    rounds(300),
  )
})

test('gives back the slot of each posting, by row and by term, and leaves out rows that say so', async () => {
  const posting = fc.tuple(text, fc.array(fc.tuple(fc.nat({ max: 11 }), slot)))
  await fc.assert(
    fc.asyncProperty(rows, fc.array(fc.array(posting, { maxLength: 12 }), { maxLength: 4 }), async (given, choices) => {
      // By field, by term, by row: slots.
      const fields = choices.map((choice) => {
        const own = choice.map(([term, slots]) => [term, new Map(slots.filter(([row]) => row < given.length))] as const)
        return new Map(own.filter(([, slots]) => slots.size > 0))
      })
      const lists = fields.flatMap((field) => [...field.values()])
      const listStart = [0]
      for (const list of lists) listStart.push(listStart.at(-1)! + list.size)
      const ends = fields.map((_, n) => fields.slice(0, n + 1).reduce((sum, field) => sum + field.size, 0))
      const documents = Uint32Array.from(lists.flatMap((list) => [...list.keys()]))
      const used = new Set(documents)
      const bytes = await bytesOf(
        {
          terms: fields.flatMap((field) => [...field.keys()]),
          fieldStart: [0, ...ends],
          slots: { postings: Uint32Array.from(lists.flatMap((list) => [...list.values()])) },
          listStart,
          documents,
        },
        given.map((each, n) => (used.has(n) ? each : null)),
      )
      const kept = given.flatMap((each, n) => (used.has(n) ? [{ ...each, n }] : []))
      const { ids, sinks } = await readInto(bytes, fields.length, collectPostings)
      expect(ids).toEqual(kept.map((each) => each.id))
      const rowsOf = (columns: Uint32Array): number[] => [...columns].map((row) => kept[row]!.n)
      for (const [n, field] of fields.entries()) {
        const { terms, byRow, byTerm }: PostingColumns =
          (await sinks[n]?.done(turn)) ?? (await collectPostings().done(turn))
        const got = new Map<string, Map<number, number>>()
        for (const [t, term] of terms.entries()) {
          const [from, to] = [byTerm.termStart[t], byTerm.termStart[t + 1]]
          const of = rowsOf(byTerm.rows.subarray(from, to))
          expect(of).toEqual([...of].sort((a, b) => a - b))
          got.set(term, new Map(of.map((row, at) => [row, byTerm.slots[from! + at]!])))
        }
        expect(got).toEqual(field)
        const flat = rowsOf(byRow.rows).map((row, at) => [row, terms[byRow.terms[at]!], byRow.slots[at]])
        const expected = [...field].flatMap(([term, slots]) => [...slots].map(([row, of]) => [row, term, of]))
        expect(flat.map(([row]) => row)).toEqual(expected.map(([row]) => row).sort((a, b) => Number(a) - Number(b)))
        expect(new Set(flat.map((each) => JSON.stringify(each)))).toEqual(
          new Set(expected.map((each) => JSON.stringify(each))),
        )
      }
    }),
    rounds(200),
  )
})

test('gives back many terms, of which many meet in the table', async () => {
  const next = random(3)
  const field: Lists[number] = new Map()
  const given = Array.from({ length: 300 }, (_, n) => ({ id: n, document: '' }))
  for (let n = 0; n < 30_000; n++) {
    const own = new Set(Array.from({ length: 3 }, () => Math.floor(next() * 300)))
    field.set(n % 2 === 0 ? `term ${n}` : `${n.toString(2)}`, new Map([[n % 9, [...own].sort((a, b) => a - b)]]))
  }
  expect(listsOf(await read(await encoded([field], given), 1))).toEqual([field])
})

test('refuses bytes that are no rows, with an error of ours and without much memory', async () => {
  const fields: Lists = [new Map([['a', new Map([[0, [0, 1]]])]]), new Map([['é', new Map([[20, [1]]])]])]
  const bytes = await encoded(fields, [
    { id: 'one', document: '{}' },
    { id: 2, document: '' },
  ])
  const refused = async (given: Uint8Array): Promise<boolean> => {
    const isRefused = await read(given, 2).then(() => false, refusedWith)
    const { sinks } = await readInto(given, 2, collectPostings).catch(() => ({ sinks: null }))
    const asColumns = await Promise.all((sinks ?? []).map((sink) => sink?.done(turn))).then(() => false, refusedWith)
    expect(sinks === null || asColumns).toBe(isRefused)
    return isRefused
  }
  const refusedWith = (error: unknown): boolean => {
    expect(isHoldfastError(error, 'ENGINE_MISMATCH'), String((error as Error).stack)).toBe(true)
    return true
  }
  expect(await refused(bytes)).toBe(false)
  for (let length = 1; length < bytes.length; length++) {
    // Rows may end there.
    if (length !== bytes[0]! + 1) expect(await refused(bytes.subarray(0, length)), `${length} bytes`).toBe(true)
  }
  let count = 0
  const values = sample('values of a byte', [...Array(256).keys()], 52)
  for (let at = 0; at < bytes.length; at++) {
    for (const value of values) {
      const other = Uint8Array.from(bytes)
      other[at] = value
      if (await refused(other)) count += 1
    }
  }
  expect(count).toBeGreaterThan((bytes.length * values.length) / 2)
  const integer = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x03]
  for (const [what, wrong] of [
    ['a row of 2^44 bytes', [...integer, 0]],
    ['a size without end', Array.from({ length: 20 }, () => 0xff)],
    ['a document of 2^44 bytes', [9, 0, ...integer, 0]],
    ['2^44 postings', [9, 0, 0, ...integer]],
    ['a term of 2^44 bytes', [11, 0, 0, 1, 0, ...integer]],
    ['a slot beyond those of arrays', [12, 0, 0, 1, 0xf0, ...integer, 0]],
    ['a term that shares what the one before has not', [6, 0, 0, 1, 1, 1, 0x61]],
    ['an id that is a list', [4, 5, 0x5b, 0x5d, 0]],
    ['a document that is no JSON', [3, 0, 1, 0x7b]],
    ['a term that is no UTF-8', [6, 0, 0, 1, 0, 1, 0xff]],
    ['a pair whose halves have three bytes each', [11, 0, 0, 1, 0, 6, 0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]],
    ['a field too many', [11, 0, 0, 0, 0, 1, 0, 1, 0x61, 0, 0, 0]],
  ] as const) {
    expect(await refused(Uint8Array.from(wrong)), what).toBe(true)
  }
})

test('reads no further than a row that is longer than its blob', async () => {
  let asked = 0
  async function* parts(): AsyncGenerator<Uint8Array> {
    for (; asked < 3; asked++) yield Uint8Array.of(0xff, 0xff, 0xff, 0x7f, 0)
  }
  await expect(readRows(parts(), { fields: 1, size: 15 }, collectPostings)).rejects.toMatchObject({
    code: 'ENGINE_MISMATCH',
  })
  expect(asked).toBe(0)
})
