// How a blob is cut into chunks: by content (FastCDC) or at fixed lengths. The reference implementation.

import { HoldfastError } from '../errors.ts'
import { assertOptions } from '../misuse.ts'
import { cutByContent, fillGear } from './gear.ts'

/** How a blob is cut into chunks; recorded with the blob. Sizes in bytes. */
export type Chunking = { kind: 'content'; average: number } | { kind: 'fixed'; size: number }

/** Length of the first chunk of `bytes[start, end)`. */
type Cutter = (bytes: Uint8Array, start: number, end: number) => number

const AVERAGE_BYTES_MIN = 2 ** 11
const AVERAGE_BYTES_MAX = 2 ** 20
const AVERAGE_BYTES_DEFAULT = 2 ** 14
const FIXED_BYTES_MIN = 512
const FIXED_BYTES_MAX = 1_048_576

/** FastCDC's normalisation level: how many bits the masks lie above and below log2(average). Xia et al. 2016, 4.2.2. */
const NORMALISATION = 2

/**
 * Boundaries that follow the content, so that an insertion moves only the chunks around it. `averageBytes`: a power of
 * two from 2,048 to 1,048,576; default 16,384. Chunks have a quarter of it to four times it.
 */
export function content(options: { averageBytes?: number | undefined } = {}): Chunking {
  assertOptions('content', options, { averageBytes: 'any' })
  const average = options.averageBytes ?? AVERAGE_BYTES_DEFAULT
  if (typeof average !== 'number') throw new TypeError(`averageBytes must be a number, not ${typeof average}`)
  if (!isAverage(average)) {
    throw new RangeError(
      `averageBytes must be a power of two from ${AVERAGE_BYTES_MIN} to ${AVERAGE_BYTES_MAX}, not ${average}`,
    )
  }
  return { kind: 'content', average }
}

/** Chunks of `bytes` bytes each, 512 to 1,048,576: for page files and records of one size that change in place. */
export function fixed(bytes: number): Chunking {
  if (typeof bytes !== 'number') throw new TypeError(`fixed() takes a number of bytes, not ${typeof bytes}`)
  if (!isFixed(bytes)) {
    throw new RangeError(`fixed() takes an integer from ${FIXED_BYTES_MIN} to ${FIXED_BYTES_MAX}, not ${bytes}`)
  }
  return { kind: 'fixed', size: bytes }
}

/** Refuses a chunking that no reader would accept. A caller may have written the object by hand. */
export function assertChunking(chunking: unknown): asserts chunking is Chunking {
  if (typeof chunking !== 'object' || chunking === null) throw new TypeError('chunking must be content() or fixed()')
  const { kind, average, size } = chunking as Record<string, unknown>
  if (kind === 'content') content({ averageBytes: typeof average === 'number' ? average : Number.NaN })
  else if (kind === 'fixed') fixed(typeof size === 'number' ? size : Number.NaN)
  else throw new TypeError(`chunking must be content() or fixed(), got kind ${JSON.stringify(kind)}`)
}

/** The chunking that a decoded manifest records. Throws `SNAPSHOT_DAMAGED`. */
export function parseChunking(value: unknown): Chunking {
  if (typeof value === 'object' && value !== null && Object.keys(value).length === 2) {
    const { kind, average, size } = value as Record<string, unknown>
    if (kind === 'content' && isAverage(average)) return { kind, average }
    if (kind === 'fixed' && isFixed(size)) return { kind, size }
  }
  const reason = 'a blob has a chunking that this format does not know'
  throw new HoldfastError('SNAPSHOT_DAMAGED', reason, { details: { reason, chunking: value } })
}

/** The size of the largest possible chunk, in bytes. */
export function chunkBytesMax(chunking: Chunking): number {
  return chunking.kind === 'fixed' ? chunking.size : chunking.average * 4
}

/**
 * The function that cuts one chunk. Its caller promises that `end` is the end of the blob, or at least
 * `chunkBytesMax(chunking)` bytes after `start`: chunks depend on nothing else.
 */
export function cutter(chunking: Chunking): Cutter {
  if (chunking.kind === 'content') return contentCutter(chunking.average)
  const { size } = chunking
  return (_bytes, start, end) => Math.min(size, end - start)
}

function contentCutter(average: number): Cutter {
  fillGear()
  const bits = Math.log2(average)
  // Both masks lie in the upper half of the 64 bits (bits + 2 <= 22), so only that half is ever tested.
  const maskS = topBits(bits + NORMALISATION)
  const maskL = topBits(bits - NORMALISATION)
  return (bytes, start, end) => cutByContent(bytes, start, end, average, maskS, maskL)
}

function topBits(count: number): number {
  return -(2 ** (32 - count)) | 0
}

function isAverage(value: unknown): value is number {
  return isBetween(value, AVERAGE_BYTES_MIN, AVERAGE_BYTES_MAX) && (value & (value - 1)) === 0
}

function isFixed(value: unknown): value is number {
  return isBetween(value, FIXED_BYTES_MIN, FIXED_BYTES_MAX)
}

function isBetween(value: unknown, min: number, max: number): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max
}
