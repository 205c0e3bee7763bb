// Writes blocks into new packs. A pack gets its name when it is complete, and HEAD names it only once it is durable.

import { randomBytes } from 'node:crypto'
import { HoldfastError } from '../errors.ts'
import { runYielding } from '../event-loop.ts'
import type { Codec } from '../format/cid.ts'
import { COMPRESSION } from '../format/compression.ts'
import { BLOCK_BYTES_MAX, HEADER_BYTES, PACK_BLOCKS_MAX } from '../format/limits.ts'
import { encodePackHeader, type Kind, type PackIndex } from '../format/pack.ts'
import { createPackIndex } from '../format/pack-builder.ts'
import type { PackSink } from '../storage/port.ts'

/** A pack written by this persist. */
export interface WrittenPack {
  id: number
  name: string
  bytes: number
  blocks: number
}

interface PackWriterOptions {
  storeId: Uint8Array
  /** The HEAD revision that will name the packs. */
  revision: number
  firstPackId: number
  packBytesMax: number
  createPack(revision: number): Promise<PackSink>
}

/**
 * Appends blocks to packs, and starts a new pack at the size limit. Full packs are renamed into place; HEAD names them
 * later.
 */
export interface PackWriter {
  /** Stored bytes written so far. */
  readonly bytes: number
  /** Packs completed so far. */
  readonly packs: readonly WrittenPack[]
  /** The id of the pack that the next block goes to. */
  readonly packId: number
  /** Appends a block. Keeps a view of `bytes`, or of their compressed frame, until `flush`. */
  append(bytes: Uint8Array, digest: Uint8Array, codec: Codec, kind: Kind, frame: Frame | null): void
  /** Appends stored bytes as they are, to copy blocks between packs. */
  appendStored(stored: Uint8Array, digest: Uint8Array, block: StoredBlock): void
  /**
   * Writes what was appended so far. The views must not change until it settles. More may be appended meanwhile, but
   * this flush must be awaited before the next.
   */
  flush(): Promise<void>
  /** Completes the open pack if it has reached its limit of bytes or blocks. Called between flushes. */
  rollOver(): Promise<void>
  /**
   * Completes the open pack, if any. Returns all packs, and the index of the last one, which becomes durable when the
   * promise of `seal` resolves. Call it once.
   */
  finish(): Promise<{ packs: WrittenPack[]; last: PackIndex | null; seal: () => Promise<void> }>
  /** Removes every pack written. Never throws. */
  discard(): Promise<void>
}

/** A block compressed as a zstd frame. */
export interface Frame {
  bytes: Uint8Array
  /** The first 8 bytes of the frame's digest. */
  check: Uint8Array
}

/** What a pack says of a block whose stored bytes are copied. */
export interface StoredBlock {
  rawLength: number
  codec: number
  compression: number
  kind: Kind
  check: Uint8Array | null
}

/** Buffer this much before writing, so that a small persist is a single write. */
const GATHERED_BYTES = 256 * 1024

export function createPackWriter(options: PackWriterOptions): PackWriter {
  const packs: WrittenPack[] = []
  const sinks: PackSink[] = []
  let creating: Promise<PackSink> | null = null
  let open: { sink: PackSink; header: Uint8Array } | null = null
  const index = createPackIndex()
  let position = HEADER_BYTES
  let pending: Uint8Array[] = []
  let pendingStart = HEADER_BYTES
  let total = 0
  /** Copies of flushed bytes that are not yet written. They precede `pendingStart`. */
  let gathered: Uint8Array[] = []
  let gatheredBytes = 0
  /** Settles when the last pack is durable or has failed. */
  let committing: Promise<void> = Promise.resolve()

  function push(view: Uint8Array): void {
    create()
    const last = pending[pending.length - 1]
    // Adjacent views of one buffer become one view, so that a run of new chunks is one write.
    if (last !== undefined && last.buffer === view.buffer && last.byteOffset + last.byteLength === view.byteOffset) {
      pending[pending.length - 1] = new Uint8Array(last.buffer, last.byteOffset, last.byteLength + view.byteLength)
    } else {
      pending.push(view)
    }
    position += view.byteLength
    total += view.byteLength
  }

  /** Starts to create the pack's file, while the caller continues. */
  function create(): void {
    creating ??= options.createPack(options.revision).then((sink) => {
      sinks.push(sink)
      return sink
    })
    creating.catch(() => undefined)
  }

  async function opened(): Promise<{ sink: PackSink; header: Uint8Array }> {
    create()
    const sink = await creating!
    if (open === null) {
      const header = encodePackHeader({ storeId: options.storeId, revision: options.revision, nonce: randomBytes(16) })
      open = { sink, header }
      gathered.unshift(header)
      gatheredBytes += header.length
    }
    return open
  }

  async function flush(): Promise<void> {
    if (pending.length === 0) return
    const views = pending
    pending = []
    const end = position
    const bytes = end - pendingStart
    pendingStart = end
    if (gatheredBytes + bytes <= GATHERED_BYTES) {
      // Not `slice`, which of a Buffer gives a view.
      gathered.push(...views.map((view) => new Uint8Array(view)))
      gatheredBytes += bytes
      return
    }
    await opened()
    await writeGathered(views, end)
  }

  /** Writes the buffered bytes and then `views`. `end` is the position after them. */
  async function writeGathered(views: readonly Uint8Array[], end: number): Promise<void> {
    const all = [...gathered, ...views]
    gathered = []
    gatheredBytes = 0
    const bytes = all.reduce((sum, { byteLength }) => sum + byteLength, 0)
    await open!.sink.write(all, end - bytes)
  }

  /** Writes the end of the pack. `seal` makes it durable. */
  async function complete(): Promise<{ last: PackIndex | null; seal: () => Promise<void> }> {
    if (index.count === 0) return { last: null, seal: async () => undefined }
    const { sink, header } = await opened()
    const blocks = index.count
    const { trailer, name, index: last } = await runYielding(index.finishing(header, position))
    await writeGathered([trailer], position + trailer.length)
    packs.push({
      id: options.firstPackId + packs.length,
      name,
      bytes: position + trailer.length,
      blocks,
    })
    total += HEADER_BYTES + trailer.length
    open = null
    creating = null
    position = HEADER_BYTES
    pendingStart = HEADER_BYTES
    return {
      last,
      seal() {
        const durable = sink.commit(name)
        committing = durable.catch(() => undefined)
        return durable
      },
    }
  }

  return {
    packs,
    get bytes() {
      return total
    },
    get packId() {
      return options.firstPackId + packs.length
    },
    append(bytes, digest, codec, kind, frame) {
      if (bytes.length > BLOCK_BYTES_MAX) {
        throw new HoldfastError('LIMIT_EXCEEDED', `a block of ${bytes.length} bytes; at most ${BLOCK_BYTES_MAX}`, {
          details: { bytes: bytes.length, limit: BLOCK_BYTES_MAX },
        })
      }
      const stored = frame?.bytes ?? bytes
      const compression = frame === null ? COMPRESSION.none : COMPRESSION.zstd
      const place = { offset: position, storedLength: stored.length, rawLength: bytes.length }
      index.add({ digest, ...place, codec, compression, kind, check: frame?.check ?? null })
      push(stored)
    },
    appendStored(stored, digest, block) {
      // Each field by its name: to spread `block` took longer than to hash a small one.
      const { rawLength, codec, compression, kind, check } = block
      index.add({ digest, offset: position, storedLength: stored.length, rawLength, codec, compression, kind, check })
      push(stored)
    },
    flush,
    async rollOver() {
      if (position < options.packBytesMax && index.count < PACK_BLOCKS_MAX) return
      await flush()
      const { seal } = await complete()
      await seal()
    },
    async finish() {
      await flush()
      return { packs, ...(await complete()) }
    },
    async discard() {
      await committing
      await creating?.catch(() => undefined)
      for (const sink of sinks) await sink.discard()
    },
  }
}
