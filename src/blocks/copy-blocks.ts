// Copies blocks from an old pack into the one being written. Compaction and repair use it.

import { blake3, digestsEqual } from '../format/blake3.ts'
import type { Kind, PackIndex } from '../format/pack.ts'
import { BadBlock, decompressOrNull } from './block-source.ts'
import type { DigestMap } from './digest-map.ts'
import type { OpenPack } from './pack-cache.ts'
import type { PackWriter, StoredBlock } from './pack-writer.ts'
import type { ReadSizes } from './read-sizes.ts'

function isWhole(index: PackIndex, entry: number, stored: Uint8Array): boolean {
  const block = decompressOrNull(index, entry, stored)
  return block !== null && digestsEqual(blake3(block), 0, index.digest(entry), 0)
}

/**
 * Reads one block of a pack, and throws `BadBlock` if it is not what was written. For a copy that is to be relied on
 * because another one goes.
 */
export async function assertCopyIsWhole(
  { file, index }: { file: OpenPack; index: PackIndex },
  entry: number,
  onBadBlock: (pack: string, digest: Uint8Array) => void,
): Promise<void> {
  const stored = Buffer.allocUnsafeSlow(index.storedLength(entry))
  await file.file.read(stored, index.offset(entry))
  if (isWhole(index, entry, stored)) return
  onBadBlock(file.name, index.digest(entry))
  throw new BadBlock(`a block of pack ${file.name} is not what was written`)
}

function storedBlock(index: PackIndex, entry: number): StoredBlock {
  const compression = index.compression(entry)
  return {
    rawLength: index.rawLength(entry),
    codec: index.codec(entry),
    compression,
    kind: index.kind(entry) as Kind,
    check: compression === 0 ? null : index.check(entry),
  }
}

const COPY_READ_BYTES = 4 * 1024 * 1024

/**
 * Appends the marked blocks of a pack to the pack being written, in their order in the file. Each block is verified
 * first, so that damage is not copied. Returns the number of stored bytes copied.
 *
 * @param moved records which pack has each block now
 * @param options.writtenIn the pack into which the writer has already put a block, or -1
 */
export async function copyBlocks(
  pack: { file: OpenPack; index: PackIndex; marks: Uint8Array },
  writer: PackWriter,
  moved: DigestMap,
  flush: () => Promise<void>,
  signal: AbortSignal,
  options: { writtenIn?: (digest: Uint8Array) => number; onBadBlock?: (pack: string, digest: Uint8Array) => void } = {},
): Promise<number> {
  const { file, index, marks } = pack
  const entries: number[] = []
  for (let entry = 0; entry < index.blocks; entry++) if (marks[entry] === 1) entries.push(entry)
  entries.sort((a, b) => index.offset(a) - index.offset(b))
  let copiedBytes = 0
  for (let first = 0; first < entries.length; ) {
    signal.throwIfAborted()
    const start = index.offset(entries[first]!)
    let last = first
    let end = start
    while (last < entries.length) {
      const entry = entries[last]!
      const entryEnd = index.offset(entry) + index.storedLength(entry)
      if (last > first && entryEnd - start > COPY_READ_BYTES) break
      end = Math.max(end, entryEnd)
      last += 1
    }
    const bytes = Buffer.allocUnsafeSlow(end - start)
    const together = await file.file.read(bytes, start).catch((error: unknown) => ({ error }))
    for (const entry of entries.slice(first, last)) {
      const at = index.offset(entry) - start
      const stored = bytes.subarray(at, at + index.storedLength(entry))
      // The read may have failed at a sector between needed blocks, so each block is read alone.
      if (together !== undefined) await file.file.read(stored, start + at)
      const digest = index.digest(entry)
      if (!isWhole(index, entry, stored)) {
        options.onBadBlock?.(file.name, digest)
        throw new BadBlock(`a block of pack ${file.name} is not what was written`)
      }
      const written = options.writtenIn?.(digest) ?? -1
      if (!moved.add(digest, 0, written === -1 ? writer.packId : written) || written !== -1) continue
      writer.appendStored(stored, digest, storedBlock(index, entry))
      copiedBytes += stored.length
    }
    await flush()
    first = last
  }
  return copiedBytes
}

/**
 * Blocks are read together and verified in windows of this size, so that they can be written in another order than they
 * lie in.
 */
const WINDOW_BYTES = 8 * 1024 * 1024
/** A gap between two blocks that is read over rather than read around. */
const GAP_BYTES = 64 * 1024

/**
 * Memory for windows, used again and again: new memory of some MiB for each window made V8 collect garbage every few
 * windows, for up to 0.1 s at a time on a busy machine.
 */
export interface WindowMemory {
  bytes: Uint8Array
}

export function createWindowMemory(): WindowMemory {
  return { bytes: new Uint8Array(0) }
}

/**
 * Appends blocks of a pack to the pack being written, in the order of `entries`. Each block is verified first. Ends
 * early, between windows, when `isEnough` says so. Answers how many entries were copied, and how many stored bytes.
 *
 * @param moved records which pack has each block now
 * @param options.memory one copy at a time uses it
 * @throws BadBlock when a block is not what was written; blocks before it may have been appended
 */
export async function copyInOrder(
  { file, index }: { file: OpenPack; index: PackIndex },
  entries: Uint32Array,
  writer: PackWriter,
  moved: DigestMap,
  options: {
    signal: AbortSignal
    isEnough: (copiedBytes: number) => boolean
    onBadBlock: (pack: string, digest: Uint8Array) => void
    turn: () => Promise<void> | undefined
    memory: WindowMemory
    /** How the pack is read. */
    reads: ReadSizes
  },
): Promise<{ entries: number; bytes: number }> {
  let done = 0
  let copiedBytes = 0
  while (done < entries.length && (done === 0 || !options.isEnough(copiedBytes))) {
    options.signal.throwIfAborted()
    const window = windowFrom(index, entries, done)
    const blocks = await readWindow(file, index, window, options.memory, options.reads)
    for (const entry of window) {
      const stored = blocks.get(entry)!
      const digest = index.digest(entry)
      if (!isWhole(index, entry, stored)) {
        options.onBadBlock(file.name, digest)
        throw new BadBlock(`a block of pack ${file.name} is not what was written`)
      }
      // A pack must not have a digest twice.
      if (moved.add(digest, 0, writer.packId)) {
        writer.appendStored(stored, digest, storedBlock(index, entry))
        copiedBytes += stored.length
      }
      await options.turn()
    }
    done += window.length
    // From here on nobody has views of the memory.
    await writer.flush()
    await writer.rollOver()
  }
  return { entries: done, bytes: copiedBytes }
}

function windowFrom(index: PackIndex, entries: Uint32Array, from: number): Uint32Array {
  let bytes = 0
  let to = from
  while (to < entries.length) {
    bytes += index.storedLength(entries[to]!)
    if (to > from && bytes > WINDOW_BYTES) break
    to += 1
  }
  return entries.subarray(from, to)
}

/**
 * Reads in the order of the file, neighbours together, from a server many at a time. What it answers are views of
 * `memory`.
 */
async function readWindow(
  file: OpenPack,
  index: PackIndex,
  window: Uint32Array,
  memory: WindowMemory,
  { copiesAtOnce }: ReadSizes,
): Promise<Map<number, Uint8Array>> {
  const blocks = new Map<number, Uint8Array>()
  const byOffset = window.slice().sort((a, b) => index.offset(a) - index.offset(b))
  const runs: { entries: number[]; start: number; end: number; at: number }[] = []
  let needed = 0
  for (const entry of byOffset) {
    const [start, end] = [index.offset(entry), index.offset(entry) + index.storedLength(entry)]
    const run = runs.at(-1)
    if (run !== undefined && start - run.end <= GAP_BYTES) {
      run.entries.push(entry)
      // An empty block lies where the next one begins, and may come after it.
      if (end <= run.end) continue
      needed += end - run.end
      run.end = end
    } else {
      runs.push({ entries: [entry], start, end, at: needed })
      needed += end - start
    }
  }
  if (memory.bytes.length < needed) memory.bytes = new Uint8Array(Math.max(needed, 2 * WINDOW_BYTES))
  for (let first = 0; first < runs.length; first += copiesAtOnce) {
    const some = runs.slice(first, first + copiesAtOnce)
    await Promise.all(
      some.map(({ start, end, at }) => file.file.read(memory.bytes.subarray(at, at + end - start), start)),
    )
  }
  for (const { entries, start, at } of runs) {
    for (const entry of entries) {
      const from = at + index.offset(entry) - start
      blocks.set(entry, memory.bytes.subarray(from, from + index.storedLength(entry)))
    }
  }
  return blocks
}
