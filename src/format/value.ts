// Strict values: what metadata may hold, encoded as canonical dag-cbor. What would not come back equal is refused.

import { encodeOptions as dagCborOptions } from '@ipld/dag-cbor'
import { encode } from 'cborg'
import { CID } from 'multiformats/cid'
import { HoldfastError } from '../errors.ts'
import { type Cursor, MAJOR, readHead, TAG_LINK } from './cbor.ts'
import { VALUE_DEPTH_MAX, VALUE_WEIGHT_MAX } from './limits.ts'

/**
 * A value that has passed the strict walk, and that nobody else holds. Maps are `Map`s here: cborg takes a plain object
 * with equal fields `/` and `bytes` for a CID.
 */
export type StrictValue =
  | null
  | boolean
  | number
  | bigint
  | string
  | Uint8Array
  | CID
  | StrictValue[]
  | Map<string, StrictValue>

interface Walk {
  root: string
  /** Keys and positions from the root to where the walk is. */
  path: (string | number)[]
  /** The containers around it, to notice cycles. */
  around: object[]
}

/**
 * The canonical dag-cbor bytes of `value`. `root` begins the paths in errors (`metadata.fields[3].weight`). Throws
 * `METADATA_INVALID` with `path` and `reason` for anything that would not come back as it was given; see "Strict
 * values" in `docs/format.md`.
 */
export function encodeValue(value: unknown, root: string): Uint8Array {
  return encodeStrict(strictCopy(value, root))
}

/** A deep copy that reads every field once, so that a getter or another thread cannot change what has been checked. */
export function strictCopy(value: unknown, root: string): StrictValue {
  return copy(value, { root, path: [], around: [] })
}

/** dag-cbor's own encoder of a `Map` takes an empty key for one that is no string; cborg's is right. */
const { Map: _, ...typeEncoders } = dagCborOptions.typeEncoders ?? {}
const encodeOptions = { ...dagCborOptions, typeEncoders }

/** What an item weighs, about a tenth of the bytes that it takes once decoded. A map's keys weigh one each. */
const WEIGHT = { number: 1, text: 2, container: 4, bytes: 8, link: 8 } as const

/**
 * The canonical dag-cbor bytes of a value that passed `strictCopy`. Throws `LIMIT_EXCEEDED` for one with more items
 * than a reader would decode.
 */
export function encodeStrict(value: StrictValue): Uint8Array {
  const weight = weightOf(value)
  if (weight > VALUE_WEIGHT_MAX) {
    throw new HoldfastError(
      'LIMIT_EXCEEDED',
      `metadata and watermark may have items that weigh up to ${VALUE_WEIGHT_MAX} (a number 1, text 2, a list or a map 4, bytes 8), not ${weight}; ` +
        'keep it as a blob',
      { details: { limit: 'valueWeight', max: VALUE_WEIGHT_MAX, actual: weight } },
    )
  }
  // A copy: what cborg gives may be a Buffer, and a piece of Node's shared pool.
  return new Uint8Array(encode(value, encodeOptions))
}

function weightOf(value: StrictValue): number {
  if (typeof value === 'string') return WEIGHT.text
  if (value instanceof Uint8Array) return WEIGHT.bytes
  let weight: number = WEIGHT.container
  if (Array.isArray(value)) {
    for (const item of value) weight += weightOf(item)
    return weight
  }
  if (value instanceof Map) {
    for (const item of value.values()) weight += 1 + weightOf(item)
    return weight
  }
  return typeof value === 'object' && value !== null ? WEIGHT.link : WEIGHT.number
}

function copy(value: unknown, walk: Walk): StrictValue {
  switch (typeof value) {
    case 'boolean':
      return value
    case 'string':
      if (!isWellFormed(value)) throw refused(walk, 'a string with a lone surrogate')
      return value
    case 'number':
      return copyNumber(value, walk)
    case 'bigint':
      return copyBigInt(value, walk)
    case 'object':
      return value === null ? null : copyObject(value, walk)
    default:
      throw refused(walk, value === undefined ? 'undefined' : `a ${typeof value}`)
  }
}

function copyNumber(value: number, walk: Walk): number {
  if (!Number.isFinite(value)) throw refused(walk, `${value}`)
  if (Object.is(value, -0)) throw refused(walk, '-0')
  if (Number.isInteger(value) && !Number.isSafeInteger(value)) {
    throw refused(walk, 'an integer beyond 2^53 - 1, which may have lost digits already; give a BigInt')
  }
  return value
}

function copyBigInt(value: bigint, walk: Walk): bigint {
  if (value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER) {
    throw refused(walk, 'a BigInt that would come back as a number; give a number')
  }
  if (value >= 2n ** 64n || value < -(2n ** 64n)) throw refused(walk, 'a BigInt of more than 64 bits')
  return value
}

function copyObject(value: object, walk: Walk): StrictValue {
  if (ArrayBuffer.isView(value)) {
    // By its tag: a Uint8Array of another realm (a vm context, jest) is no instance of ours.
    if (typedArrayTag.call(value) !== 'Uint8Array') throw refused(walk, `a ${nameOf(value)}; give a Uint8Array`)
    return new Uint8Array(value as Uint8Array)
  }
  const isList = Array.isArray(value)
  if (!isList && !isPlain(value)) {
    const link = linkOf(value)
    if (link === null) throw refused(walk, `an instance of ${nameOf(value)}`)
    return link
  }
  if (walk.around.includes(value)) throw refused(walk, 'a cycle')
  if (walk.around.length >= VALUE_DEPTH_MAX) throw refused(walk, `nesting beyond ${VALUE_DEPTH_MAX}`)
  walk.around.push(value)
  const result = isList ? copyList(value, walk) : copyMap(value, walk)
  walk.around.pop()
  return result
}

function copyList(list: readonly unknown[], walk: Walk): StrictValue[] {
  const length = list.length
  const out: StrictValue[] = []
  for (let i = 0; i < length; i++) {
    walk.path.push(i)
    out.push(copy(list[i], walk))
    walk.path.pop()
  }
  // What `RegExp.exec` and some parsers hang on their arrays would be lost.
  if (Object.keys(list).length > length) throw refused(walk, 'a list with fields of its own')
  return out
}

function copyMap(map: object, walk: Walk): Map<string, StrictValue> {
  const out = new Map<string, StrictValue>()
  for (const key of Reflect.ownKeys(map)) {
    if (!Object.prototype.propertyIsEnumerable.call(map, key)) continue
    if (typeof key === 'symbol') throw refused(walk, 'a map with a symbol for a key')
    walk.path.push(key)
    if (!isWellFormed(key)) throw refused(walk, 'a key with a lone surrogate')
    out.set(key, copy((map as Record<string, unknown>)[key], walk))
    walk.path.pop()
  }
  return out
}

const typedArrayTag = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype) as object,
  Symbol.toStringTag,
)!.get as (this: unknown) => string | undefined

/** Whether every surrogate has its other half. (`String.prototype.isWellFormed` is not in our `lib` yet.) */
export function isWellFormed(text: string): boolean {
  return !/\p{Surrogate}/u.test(text)
}

/** A map without a class: its prototype is null or an `Object.prototype`, of whatever realm. */
function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === null || prototype === Object.prototype) return true
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, 'isPrototypeOf')
}

/** The CID that `value` is, whichever copy of multiformats made it, rebuilt from its bytes; or null. */
function linkOf(value: object): CID | null {
  try {
    const cid = CID.asCID(value)
    return cid === null ? null : decodeCid(new Uint8Array(cid.bytes))
  } catch {
    return null
  }
}

/**
 * Throws for bytes that are not exactly those of the CID: an explicit version 0, numbers too large for multiformats.
 */
function decodeCid(bytes: Uint8Array): CID {
  const cid = CID.decode(bytes)
  if (Buffer.compare(cid.bytes, bytes) !== 0) throw new Error('a CID is not in its one form')
  return cid
}

function nameOf(value: object): string {
  const maker: unknown = (Object.getPrototypeOf(value) as { constructor?: unknown }).constructor
  return typeof maker === 'function' && maker.name !== '' ? maker.name : 'a class'
}

function refused(walk: Walk, reason: string): HoldfastError {
  let path = walk.root
  for (const step of walk.path) {
    if (typeof step === 'number') path += `[${step}]`
    else path += /^[\p{ID_Start}$_][\p{ID_Continue}$]*$/u.test(step) ? `.${step}` : `[${JSON.stringify(step)}]`
  }
  return new HoldfastError('METADATA_INVALID', `${path} cannot be kept: it is ${reason}`, { details: { path, reason } })
}

// ---- decoding

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/**
 * The value that these bytes canonically encode, in plain objects, arrays, `Uint8Array` copies and `CID`s. Throws
 * `SNAPSHOT_DAMAGED` for bytes that `encodeValue` would not have written.
 *
 * Written out rather than left to cborg, whose decoder drops a byte-order mark at the start of a string (so that a name
 * written with one could not be read back), accepts forms that are not canonical, and nests without a limit.
 */
export function decodeValue(bytes: Uint8Array, depthMax: number = VALUE_DEPTH_MAX): unknown {
  // A plain view: `slice` of a Buffer would alias the block.
  const view = new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length)
  const cursor: ValueCursor = { bytes: view, at: 0, big: 0n, weight: 0 }
  try {
    const value = decodeItem(cursor, depthMax)
    if (cursor.at !== bytes.length) throw new Error(`${bytes.length - cursor.at} bytes follow the value`)
    return value
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new HoldfastError('SNAPSHOT_DAMAGED', `a block is not canonical dag-cbor: ${reason}`, {
      details: { reason },
      cause,
    })
  }
}

/** Also counts what was decoded. */
interface ValueCursor extends Cursor {
  weight: number
}

const weightByMajor = [
  WEIGHT.number,
  WEIGHT.number,
  WEIGHT.bytes,
  WEIGHT.text,
  WEIGHT.container,
  WEIGHT.container,
  WEIGHT.link,
  WEIGHT.number,
] as const

function weigh(cursor: ValueCursor, weight: number): void {
  cursor.weight += weight
  if (cursor.weight > VALUE_WEIGHT_MAX) throw new Error('it has too many items')
}

function decodeItem(cursor: ValueCursor, depth: number): unknown {
  const first = cursor.bytes[cursor.at]
  if (first === undefined) throw new Error('it ends too early')
  weigh(cursor, weightByMajor[first >>> 5]!)
  switch (first >>> 5) {
    case MAJOR.unsigned: {
      const value = readHead(cursor, MAJOR.unsigned)
      return value === Number.POSITIVE_INFINITY ? cursor.big : value
    }
    case MAJOR.negative: {
      const value = readHead(cursor, MAJOR.negative)
      if (value === Number.POSITIVE_INFINITY) return -1n - cursor.big
      return value === Number.MAX_SAFE_INTEGER ? -1n - BigInt(value) : -1 - value
    }
    case MAJOR.bytes:
      return take(cursor, readHead(cursor, MAJOR.bytes))
    case MAJOR.text:
      return utf8.decode(take(cursor, readHead(cursor, MAJOR.text)))
    case MAJOR.list:
      return decodeList(cursor, depth)
    case MAJOR.map:
      return decodeMap(cursor, depth)
    case MAJOR.tag:
      return decodeLink(cursor)
    default:
      return decodeSimple(cursor, first)
  }
}

function decodeList(cursor: ValueCursor, depth: number): unknown[] {
  if (depth === 0) throw new Error('it is nested too deep')
  const count = readHead(cursor, MAJOR.list)
  if (count > VALUE_WEIGHT_MAX - cursor.weight) throw new Error('it has too many items')
  const out: unknown[] = []
  for (let i = 0; i < count; i++) out.push(decodeItem(cursor, depth - 1))
  return out
}

function decodeMap(cursor: ValueCursor, depth: number): Record<string, unknown> {
  if (depth === 0) throw new Error('it is nested too deep')
  const count = readHead(cursor, MAJOR.map)
  const out: Record<string, unknown> = {}
  let previous: Uint8Array | undefined
  for (let i = 0; i < count; i++) {
    weigh(cursor, 1)
    const keyBytes = take(cursor, readHead(cursor, MAJOR.text))
    if (previous !== undefined && !(compareKeys(previous, keyBytes) < 0)) throw new Error('map keys are out of order')
    previous = keyBytes
    const key = utf8.decode(keyBytes)
    const value = decodeItem(cursor, depth - 1)
    // An assignment to `__proto__` would set the prototype instead of the field.
    if (key === '__proto__') {
      Object.defineProperty(out, key, { value, configurable: true, enumerable: true, writable: true })
    } else out[key] = value
  }
  return out
}

/** dag-cbor's order of map keys: shorter first, then byte by byte. */
function compareKeys(a: Uint8Array, b: Uint8Array): number {
  return a.length - b.length || Buffer.compare(a, b)
}

function decodeLink(cursor: Cursor): CID {
  if (readHead(cursor, MAJOR.tag) !== TAG_LINK) throw new Error('it has a tag that is not a link')
  const bytes = take(cursor, readHead(cursor, MAJOR.bytes))
  if (bytes[0] !== 0) throw new Error('a link does not begin with a zero byte')
  return decodeCid(bytes.slice(1))
}

function decodeSimple(cursor: Cursor, first: number): unknown {
  const at = cursor.at + 1
  if (first === 0xfb) {
    if (at + 8 > cursor.bytes.length) throw new Error('it ends too early')
    const value = new DataView(cursor.bytes.buffer, cursor.bytes.byteOffset + at, 8).getFloat64(0)
    // Whole numbers (-0 among them) are integers, or were refused.
    if (!Number.isFinite(value) || Number.isInteger(value)) throw new Error(`${value} is not written as a float`)
    cursor.at = at + 8
    return value
  }
  cursor.at = at
  if (first === 0xf4) return false
  if (first === 0xf5) return true
  if (first === 0xf6) return null
  throw new Error(`byte ${at - 1} is a simple value that is not allowed`)
}

function take(cursor: Cursor, length: number): Uint8Array {
  const { bytes, at } = cursor
  if (length > bytes.length - at) throw new Error('it ends too early')
  cursor.at = at + length
  return bytes.slice(at, at + length)
}
