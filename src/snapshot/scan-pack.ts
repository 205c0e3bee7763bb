import { blake3, digestsEqual } from '../format/blake3.ts'
import type { PackIndex } from '../format/pack.ts'
import type { PackFile } from '../storage/port.ts'
import { BadBlock, unpack } from './blocks.ts'

/** Blocks of a pack that were read and checked in one step. */
export interface ScanStep {
  /** Blocks checked so far, in the order in which they lie. */
  done: number
  blocks: number
  /** Stored bytes read. */
  bytes: number
  /** Index entries whose bytes are not what was written, or cannot be read. */
  bad: { entry: number; error: unknown }[]
}

const STEP_BYTES = 4 * 1024 * 1024

/** Reads every block from number `from` on, in the order in which they lie, one step ahead of checking them. Changes nothing. */
export async function* scanPack(file: PackFile, index: PackIndex, from = 0): AsyncGenerator<ScanStep> {
  const order = entriesByOffset(index)
  let next = from
  let ahead = next < order.length ? readStep(next) : null
  while (ahead !== null) {
    const { first, last, start, bytes, error } = await ahead
    next = last
    ahead = next < order.length ? readStep(next) : null
    const step: ScanStep = { done: last, blocks: last - first, bytes: bytes.length, bad: [] }
    for (let i = first; i < last; i++) {
      const entry = order[i]!
      const problem = error ?? wrongBlock(index, entry, bytes, index.offset(entry) - start)
      if (problem !== null) step.bad.push({ entry, error: problem })
    }
    yield step
  }

  async function readStep(
    first: number,
  ): Promise<{ first: number; last: number; start: number; bytes: Uint8Array; error: unknown }> {
    const start = index.offset(order[first]!)
    let end = start
    let last = first
    while (last < order.length) {
      const entry = order[last]!
      const entryEnd = index.offset(entry) + index.storedLength(entry)
      if (last > first && entryEnd - start > STEP_BYTES) break
      end = Math.max(end, entryEnd)
      last += 1
    }
    const bytes = Buffer.allocUnsafeSlow(end - start)
    try {
      await file.read(bytes, start)
      return { first, last, start, bytes, error: null }
    } catch (error) {
      // A bad sector must not hide its neighbours: what fails together is read one by one.
      if (last - first === 1) return { first, last, start, bytes, error }
      return await readAlone(first, last, start, bytes)
    }
  }

  async function readAlone(first: number, last: number, start: number, bytes: Uint8Array) {
    for (let i = first; i < last; i++) {
      const entry = order[i]!
      const at = index.offset(entry) - start
      const view = bytes.subarray(at, at + index.storedLength(entry))
      // Bytes that stay unread do not match their digest.
      await file.read(view, start + at).catch(() => view.fill(0))
    }
    return { first, last, start, bytes, error: null }
  }
}

function wrongBlock(index: PackIndex, entry: number, bytes: Uint8Array, at: number): unknown {
  try {
    const raw = unpack(index, entry, bytes.subarray(at, at + index.storedLength(entry)))
    if (raw.length !== index.rawLength(entry)) return new BadBlock('the block has another length than its index says')
    return digestsEqual(blake3(raw), 0, index.bytes, index.digestAt(entry))
      ? null
      : new BadBlock('the bytes do not match their digest')
  } catch (error) {
    return error
  }
}

/** Entry numbers in the order in which the blocks lie in the pack. */
export function entriesByOffset(index: PackIndex): Uint32Array {
  const keys = new Float64Array(index.blocks)
  // Both fit a double: offsets below 2^32, entries below 2^21.
  for (let entry = 0; entry < index.blocks; entry++) keys[entry] = index.offset(entry) * 2 ** 21 + entry
  keys.sort()
  return Uint32Array.from(keys, (key) => key % 2 ** 21)
}
