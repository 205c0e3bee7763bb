// Brings the content of another store's snapshot into the packs that are being written: blocks that this store lacks,
// verified, and packed anew, because packs name their store.

import { BadBlock } from '../blocks/block-source.ts'
import { copyBlocks } from '../blocks/copy-blocks.ts'
import { createDigestMap } from '../blocks/digest-map.ts'
import { openPacks, packsByLikelihood, sourceOf } from '../blocks/open-packs.ts'
import type { PackWriter } from '../blocks/pack-writer.ts'
import { readManifest } from '../blocks/read-manifest.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { clock } from '../clock.ts'
import { HoldfastError } from '../errors.ts'
import { CODEC_DAG_CBOR, cidText, parseCid } from '../format/cid.ts'
import type { HeadSnapshot } from '../format/head.ts'
import { encodeManifest, type Manifest } from '../format/manifest.ts'
import type { Kind } from '../format/pack.ts'
import { markSnapshots } from '../gc/mark.ts'
import type { StoredHead } from '../storage/port.ts'
import { term } from '../terms.ts'
import type { Ingested } from './commit.ts'
import type { IngestTarget } from './ingest.ts'

/** A snapshot of another store. */
interface CopyOf {
  ctx: StoreContext
  stored: StoredHead
  snapshot: HeadSnapshot
}

/** @throws SNAPSHOT_DAMAGED, PACK_MISSING when the other store gave a pack up meanwhile */
export async function copyContent(
  { ctx, stored, snapshot }: CopyOf,
  target: IngestTarget,
  signal: AbortSignal,
): Promise<Ingested> {
  const names = packsByLikelihood(stored.head, snapshot).slice(0, snapshot.packs.length)
  const { packs, failures } = await openPacks(ctx, stored, names)
  try {
    if (failures.length > 0) throw failures[0]!
    const source = sourceOf(ctx, packs, failures)
    await source.loadAllIndexes()
    const damage = damageOf(ctx, snapshot)
    const manifest = await readManifest(source, parseCid(snapshot.manifest).digest, damage)
    const marks = source.indexes.map(({ blocks }) => new Uint8Array(blocks))
    await markSnapshots(source, [snapshot], marks)
    await target.previous?.source.loadAllIndexes()
    await target.previous?.source.expectLookups(Number.POSITIVE_INFINITY)
    for (const [packNumber, file] of source.packs.entries()) {
      signal.throwIfAborted()
      const index = source.indexes[packNumber]!
      const lacking = marks[packNumber]!
      for (let entry = 0; entry < index.blocks; entry++) {
        if (lacking[entry] === 0) continue
        const isThere = target.dedup.reuseBlock(index.digest(entry), index.rawLength(entry), index.kind(entry) as Kind)
        if (isThere) lacking[entry] = 0
      }
      await clock.nextTurn()
      await copyLacking({ file, index, marks: lacking }, target, signal)
    }
    return encodedAgain(snapshot, manifest)
  } catch (error) {
    if (!(error instanceof BadBlock)) throw error
    const { what, details } = damageOf(ctx, snapshot)
    throw new HoldfastError('SNAPSHOT_DAMAGED', `${what} is damaged: ${error.message}; ${term('repair')} helps`, {
      details,
      cause: error,
    })
  } finally {
    for (const pack of packs) await pack.release()
  }
}

/** What the commit writes of the manifest. It is the same, or nobody would find the snapshot in both stores. */
function encodedAgain({ manifest: cid }: HeadSnapshot, { blobs, metadata, watermark }: Manifest): Ingested {
  const encoded = encodeManifest({ blobs, metadata, ...(watermark === undefined ? {} : { watermark }) })
  const again = cidText({ codec: CODEC_DAG_CBOR, digest: encoded.digest })
  if (again !== cid) throw new Error(`bug: the copy of ${cid} is ${again}`)
  return { blobs, metadata, encoded }
}

async function copyLacking(
  pack: Parameters<typeof copyBlocks>[0],
  { dedup, writer }: IngestTarget,
  signal: AbortSignal,
): Promise<void> {
  const noting: PackWriter = {
    ...writer,
    get bytes() {
      return writer.bytes
    },
    get packs() {
      return writer.packs
    },
    get packId() {
      return writer.packId
    },
    appendStored(stored, digest, block) {
      dedup.noteCopied(digest, block.kind)
      writer.appendStored(stored, digest, block)
    },
  }
  await copyBlocks(pack, noting, createDigestMap(), flush, signal)

  async function flush(): Promise<void> {
    await dedup.flush()
    await dedup.drain()
  }
}

function damageOf(
  ctx: StoreContext,
  { sequence, manifest }: HeadSnapshot,
): { code: 'SNAPSHOT_DAMAGED'; what: string; details: Record<string, unknown> } {
  const { location } = ctx.storage
  return {
    code: 'SNAPSHOT_DAMAGED',
    what: `snapshot ${sequence} of ${location}`,
    details: { location, sequence, manifest },
  }
}
