// Encodes a JSON value of any size and depth as JSON lines. The JSON text of a value of 600 MB does not fit a string,
// and parsing it would need its memory twice. What `JSON.stringify` keeps is kept, and so are NaN and the infinities.
// Values that JSON cannot give back (a BigInt, a Map, a Set, a typed array) are refused.
//
//    [0]              ends the object or list that was begun last
//    [1, key?]        an object begins; it has a key if it is in an object
//    [2, key?]        a list begins
//    [3, value, key?] a small value
//    [4, [values]]    the next items of a list
//    [5, text, key?]  a number without JSON text: "NaN", "Infinity", "-Infinity"

import { HoldfastError } from '../index.ts'
import { decodeLines } from './json-lines.ts'
import { invalid } from './json-value.ts'

const END = 0
const OBJECT = 1
const LIST = 2
const VALUE = 3
const ITEMS = 4
const NUMBER = 5

/** A value with fewer entries in all is a line, or part of one. */
const SMALL = 32
const ITEMS_PER_LINE = 64

type Entry = readonly [key: string | null, value: unknown]

/** The lines of `root`, which must not change until they are read. */
export function* treeLines(root: unknown): Generator<string> {
  const open: Iterator<Entry>[] = []
  /** The values that are open, by depth. */
  const parents: unknown[] = []
  const isOpen = new Set<unknown>()
  let items: string[] = []
  let entry: Entry | null = [null, root]
  for (;;) {
    if (entry === null) {
      const top = open.at(-1)
      if (top === undefined) return
      const step = top.next()
      if (step.done) {
        if (items.length > 0) yield `[${ITEMS},[${items.join()}]]`
        items = []
        yield `[${END}]`
        open.pop()
        isOpen.delete(parents.pop())
        continue
      }
      entry = step.value
    }
    const [key, given] = entry
    entry = null
    const value = hasToJson(given) ? given.toJSON(key ?? '') : given
    const small = isSmall(value)
    if (isBareNumber(value)) {
      if (items.length > 0) yield `[${ITEMS},[${items.join()}]]`
      items = []
      yield `[${NUMBER},"${value}"${key === null ? '' : `,${JSON.stringify(key)}`}]`
      continue
    }
    if (small) {
      // In objects, what JSON has no text for (undefined, functions) is left out; in lists it is null.
      const text: string | undefined = JSON.stringify(value)
      if (key !== null) {
        if (text !== undefined) yield `[${VALUE},${text},${JSON.stringify(key)}]`
      } else if (open.length === 0) yield `[${VALUE},${text ?? 'null'}]`
      else items.push(text ?? 'null')
      if (items.length < ITEMS_PER_LINE) continue
    }
    if (items.length > 0) yield `[${ITEMS},[${items.join()}]]`
    items = []
    if (small) continue
    if (isOpen.has(value)) throw invalid('engine', 'what it gives to be saved contains itself')
    parents.push(value)
    isOpen.add(value)
    const isList = Array.isArray(value)
    yield `[${isList ? LIST : OBJECT}${key === null ? '' : `,${JSON.stringify(key)}`}]`
    open.push(isList ? itemsOf(value) : entriesOf(value as Record<string, unknown>))
  }
}

function* itemsOf(list: readonly unknown[]): Generator<Entry> {
  for (const item of list) yield [null, item]
}

function* entriesOf(map: Record<string, unknown>): Generator<Entry> {
  for (const key of Object.keys(map)) yield [key, map[key]]
}

function hasToJson(value: unknown): value is { toJSON(key: string): unknown } {
  return typeof value === 'object' && value !== null && typeof (value as { toJSON?: unknown }).toJSON === 'function'
}

/** What `JSON.stringify` would take and make something else of, or not take at all. */
function assertCarried(value: unknown): void {
  if (typeof value === 'bigint') throw notCarried(`the BigInt ${value}`)
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return
  // Nearly all are plain, and this is asked of every value.
  if (Object.getPrototypeOf(value) === Object.prototype) return
  const lost = value instanceof Map || value instanceof Set || value instanceof ArrayBuffer || ArrayBuffer.isView(value)
  if (lost && !Buffer.isBuffer(value)) throw notCarried(`a ${value.constructor.name}`)
}

function notCarried(what: string): HoldfastError {
  return invalid('engine', `what it gives to be saved has ${what} in it, which JSON cannot carry`)
}

/** A number that JSON has no text for. */
function isBareNumber(value: unknown): value is number {
  return typeof value === 'number' && !Number.isFinite(value)
}

/** Small enough for a line, and nothing in it but what `JSON.stringify` keeps. */
function isSmall(value: unknown): boolean {
  return entriesLeft(value, SMALL) > 0
}

function entriesLeft(value: unknown, limit: number): number {
  if (isBareNumber(value)) return 0
  assertCarried(value)
  if (typeof value !== 'object' || value === null) return limit - 1
  const values = Array.isArray(value) ? value : Object.values(value)
  let left = limit - 1
  if (values.length > left) return 0
  for (const item of values) {
    if (left <= 0) return 0
    left = entriesLeft(item, left)
  }
  return left
}

/** The value whose lines these are. */
export async function readTree(parts: AsyncIterable<Uint8Array>): Promise<unknown> {
  const top: unknown[] = []
  const open: (unknown[] | Record<string, unknown>)[] = [top]
  for await (const rows of decodeLines(parts)) {
    for (const row of rows as [number, unknown?, string?][]) {
      const [kind] = row
      if (kind === END) open.pop()
      else if (kind === VALUE) put(open, row[2], row[1])
      else if (kind === NUMBER) put(open, row[2], Number(row[1]))
      else if (kind === ITEMS) for (const item of row[1] as unknown[]) put(open, undefined, item)
      else {
        const value = kind === LIST ? [] : {}
        put(open, row[1] as string | undefined, value)
        open.push(value)
      }
    }
  }
  if (open.length !== 1 || top.length !== 1) throw notATree(`it leaves ${open.length - 1} of ${top.length} values open`)
  return top[0]
}

function put(open: (unknown[] | Record<string, unknown>)[], key: string | undefined, value: unknown): void {
  const into = open.at(-1)
  if (into === undefined) throw notATree('it ends more than it begins')
  if (Array.isArray(into)) into.push(value)
  else setOwn(into, key as string, value)
}

/** An assignment to `__proto__` would set the prototype instead of the field. */
export function setOwn(map: Record<string, unknown>, key: string, value: unknown): void {
  if (key !== '__proto__') map[key] = value
  else Object.defineProperty(map, key, { value, configurable: true, enumerable: true, writable: true })
}

function notATree(why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `a blob is not what this adapter writes: ${why}`, {
    details: { what: 'blob', saved: why, wanted: 'a JSON value in lines' },
  })
}
