import { blake3, digestsEqual } from '../format/blake3.ts'
import { COMPRESSION } from '../format/compression.ts'
import { CHECK_BYTES, DIGEST_BYTES } from '../format/limits.ts'
import { decompressInWorker } from '../workers/decompress.ts'
import { BadBlock, type Blame, type BlockSource, entryOf, isBadCopy, slotOf, unpack } from './blocks.ts'
import { type ChunkRun, disagrees } from './chunks.ts'

/** One read of a pack: chunks that lie one behind the other both in the pack and in the blob. */
export interface Read {
  slot: number
  /** In the pack. */
  offset: number
  bytes: number
  /** The chunks of `run` it covers: [first, last). */
  run: ChunkRun
  first: number
  last: number
  /** Where the first chunk goes in the blob, and how many blob bytes follow. */
  position: number
  length: number
  compressed: boolean
}

/** Larger reads gain nothing on page cache or NVMe (measured: 4 to 16 MiB alike) and verify later. */
const READ_BYTES_MAX = 8 * 1024 * 1024

/** Of compressed chunks, in bytes that they give: so much a worker, or without one the event loop, is busy with at a time. */
const COMPRESSED_READ_BYTES_MAX = 2 * 1024 * 1024

/**
 * What to read for chunks [first, last) of a run. Chunks that no pack has are read with `slot` -1. Chunks are read together up to
 * `bytesMax`, in the blob as well as in the pack: what is compressed may grow a thousandfold.
 */
export function planReads(
  source: BlockSource,
  run: ChunkRun,
  first: number,
  last: number,
  blame: Blame,
  bytesMax = READ_BYTES_MAX,
): Read[] {
  const reads: Read[] = []
  let position = run.offset
  for (let i = 0; i < first; i++) position += run.lengths[i]!
  let current: Read | null = null
  for (let i = first; i < last; i++) {
    const length = run.lengths[i]!
    const place = source.find(run.digests, i * DIGEST_BYTES)
    const slot = place === -1 ? -1 : slotOf(place)
    const index = source.indexes[slot]
    const entry = place === -1 ? -1 : entryOf(place)
    if (index !== undefined && index.rawLength(entry) !== length) {
      throw disagrees(blame, `a chunk of ${index.rawLength(entry)} bytes is listed as ${length}`)
    }
    const offset = index?.offset(entry) ?? 0
    const bytes = index?.storedLength(entry) ?? 0
    const compressed = index !== undefined && index.compression(entry) !== COMPRESSION.none
    const readMax = Math.min(bytesMax, compressed ? COMPRESSED_READ_BYTES_MAX : READ_BYTES_MAX)
    const joins =
      current !== null &&
      slot !== -1 &&
      current.slot === slot &&
      current.compressed === compressed &&
      current.offset + current.bytes === offset &&
      current.bytes + bytes <= readMax &&
      current.length + length <= readMax
    if (joins) {
      current!.bytes += bytes
      current!.length += length
      current!.last = i + 1
    } else {
      current = { slot, offset, bytes, run, first: i, last: i + 1, position, length, compressed }
      reads.push(current)
    }
    position += length
  }
  return reads
}

/** Fills `target` (whose byte 0 is the blob's byte `base`) with what `read` covers. Nothing is verified yet. */
export async function perform(
  source: BlockSource,
  read: Read,
  target: Uint8Array,
  base: number,
  blame: Blame,
): Promise<void> {
  const into = target.subarray(read.position - base, read.position - base + read.length)
  if (read.slot === -1) {
    into.set(await readChunk(source, read.run, read.first, blame))
    return
  }
  const pack = source.packs[read.slot]!
  try {
    if (!read.compressed) return await pack.file.read(into, read.offset)
    const stored = Buffer.allocUnsafeSlow(read.bytes)
    await pack.file.read(stored, read.offset)
    await unpackInto(source, read, stored, into)
  } catch (error) {
    if (!isBadCopy(error)) throw error
    // One chunk at a time, so that only what is really bad is looked for elsewhere.
    let at = 0
    for (let i = read.first; i < read.last; i++) {
      into.set(await readChunk(source, read.run, i, blame), at)
      at += read.run.lengths[i]!
    }
  }
}

async function unpackInto(source: BlockSource, read: Read, stored: Uint8Array, into: Uint8Array): Promise<void> {
  const index = source.indexes[read.slot]!
  const count = read.last - read.first
  const entries = Array.from({ length: count }, (_, i) => index.find(read.run.digests, (read.first + i) * DIGEST_BYTES))
  const lengths = Uint32Array.from(entries, (entry) => index.storedLength(entry))
  const rawLengths = Uint32Array.from(entries, (entry) => index.rawLength(entry))
  const checks = new Uint8Array(count * CHECK_BYTES)
  for (const [i, entry] of entries.entries()) checks.set(index.check(entry), i * CHECK_BYTES)
  const blocks = await decompressInWorker({ kind: 'decompress', stored, lengths, rawLengths, checks })
  if (blocks !== null) return into.set(blocks)
  if (stored.length === 0) throw new BadBlock('the compressed bytes are not what they were')
  let from = 0
  let to = 0
  for (const [i, entry] of entries.entries()) {
    into.set(unpack(index, entry, stored.subarray(from, from + lengths[i]!)), to)
    from += lengths[i]!
    to += rawLengths[i]!
  }
}

/**
 * Checks chunks [first, last) of a run, lying in `target` from `at` on, against their digests; replaces a bad one by a good copy
 * from elsewhere, or throws.
 */
export async function verifyChunks(
  source: BlockSource,
  run: ChunkRun,
  first: number,
  last: number,
  target: Uint8Array,
  at: number,
  blame: Blame,
): Promise<void> {
  let position = at
  for (let i = first; i < last; i++) {
    const length = run.lengths[i]!
    const bytes = target.subarray(position, position + length)
    if (!digestsEqual(blake3(bytes), 0, run.digests, i * DIGEST_BYTES)) {
      bytes.set(await readChunk(source, run, i, blame))
    }
    position += length
  }
}

/** One chunk, verified, from wherever there is a good copy. */
export async function readChunk(source: BlockSource, run: ChunkRun, i: number, blame: Blame): Promise<Uint8Array> {
  const bytes = await source.read(run.digests.subarray(i * DIGEST_BYTES, (i + 1) * DIGEST_BYTES), blame)
  if (bytes.length !== run.lengths[i]) {
    throw disagrees(blame, `a chunk of ${bytes.length} bytes is listed as ${run.lengths[i]}`)
  }
  return bytes
}
