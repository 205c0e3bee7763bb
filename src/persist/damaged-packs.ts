// Reads every block of packs in which this process found damage, before a persist relies on them. Disks lose whole
// pages, so blocks beside a bad one are often bad, too.

import type { BlockSource } from '../blocks/block-source.ts'
import type { DedupWriter } from '../blocks/dedup-writer.ts'
import { BLOCK, scanPack } from '../blocks/scan-pack.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError, isDamage } from '../errors.ts'
import type { Head } from '../format/head.ts'
import { fromHex, toHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'

/** Reads every block of the packs in which bad blocks were noted since they were last read. Answers their names. */
export async function scanDamagedPacks(ctx: StoreContext, head: Head, signal: AbortSignal): Promise<string[]> {
  const named = new Set(head.packs.map(({ name }) => name))
  const recorded = new Map(head.damaged.map(({ pack, digests }) => [pack, digests]))
  const names = ctx.badBlocks.unscanned((pack) => recorded.get(pack) ?? null).filter((name) => named.has(name))
  for (const name of names) {
    await scanOne(ctx, name, fromHex(head.storeId, STORE_ID_BYTES), signal)
    ctx.badBlocks.noteScanned(name)
  }
  return names
}

async function scanOne(ctx: StoreContext, name: string, storeId: Uint8Array, signal: AbortSignal): Promise<void> {
  const pack = await openUnlessDamaged(ctx, name, storeId)
  if (pack === null) return
  try {
    const index = await pack.index()
    for await (const { bad } of scanPack(pack.file, index)) {
      signal.throwIfAborted()
      for (const [entry, state] of bad) if (state !== BLOCK.good) ctx.badBlocks.note(name, index.digest(entry))
    }
  } catch (error) {
    if (!isDamage(error)) throw error
    ctx.badBlocks.notePack(name)
  } finally {
    await pack.release()
  }
}

async function openUnlessDamaged(ctx: StoreContext, name: string, storeId: Uint8Array) {
  try {
    return await ctx.packCache.open(name, storeId)
  } catch (error) {
    if (!isDamage(error)) throw error
    ctx.badBlocks.notePack(name)
    return null
  }
}

/**
 * Reads each node, segments block and manifest that was reused and that this process has not read yet. Most were read
 * when the snapshot before was walked. Throws `PACK_DAMAGED` if one cannot be read: its bytes are past. The next
 * persist writes it again.
 */
export async function assertReusedIsReadable(
  ctx: StoreContext,
  { source, dedup }: { source: BlockSource; dedup: DedupWriter },
  signal: AbortSignal,
): Promise<void> {
  for (const digest of dedup.takeReusedBlocks()) {
    if (ctx.checkedBlocks.has(digest)) continue
    signal.throwIfAborted()
    const hex = toHex(digest)
    try {
      await source.read(digest, { code: 'SNAPSHOT_DAMAGED', what: 'a block that was reused', details: {} })
    } catch (error) {
      if (!isDamage(error)) throw error
      throw new HoldfastError(
        'PACK_DAMAGED',
        `block ${hex.slice(0, 16)}… was reused, and cannot be read: ${error.message}; nothing was committed, persist again`,
        { details: { block: hex }, cause: error },
      )
    }
  }
}

/**
 * Runs after all blobs are ingested. Damage found meanwhile may be in a pack whose blocks were already reused. Throws
 * `PACK_DAMAGED` if a reused block is bad. The next persist writes that block again.
 */
export async function assertReusedIsGood(
  ctx: StoreContext,
  head: Head,
  { source, dedup }: { source: BlockSource; dedup: DedupWriter },
  signal: AbortSignal,
): Promise<void> {
  for (const name of await scanDamagedPacks(ctx, head, signal)) {
    const packNumber = source.packs.findIndex((pack) => pack.name === name)
    if (packNumber === -1) continue
    const bad = ctx.badBlocks.noted.get(name)
    const index = source.indexes[packNumber]!
    const marks = dedup.marks(packNumber)
    for (let entry = 0; entry < index.blocks; entry++) {
      if (marks[entry] !== 1 || bad === undefined) continue
      const hex = toHex(index.digest(entry))
      if (bad.size > 0 && !bad.has(hex)) continue
      throw new HoldfastError(
        'PACK_DAMAGED',
        `pack ${name}: block ${hex.slice(0, 16)}… was reused, and was then found to be damaged; nothing was committed, persist again`,
        { details: { pack: name, block: hex } },
      )
    }
  }
}
