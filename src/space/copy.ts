// Copies a store that is in use: a back-up that is restored by opening it.
//
// The packs of one HEAD are opened first, so that they stay readable whatever is deleted meanwhile. They become durable
// at the target, and are read back there, before a HEAD there names them: whatever the moment of a crash, the HEAD of
// the target names only what it has.

import type { OpenPack } from '../blocks/pack-cache.ts'
import { createPackCache } from '../blocks/pack-cache.ts'
import { scanPack } from '../blocks/scan-pack.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError, isDamage } from '../errors.ts'
import type { Head, HeadPack } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import { inspectPacks } from '../gc/pack-claims.ts'
import { assertWritable, watchWait } from '../history/write-guards.ts'
import type { OptionTable } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'
import type { Storage, StoredHead, WriteSession } from '../storage/port.ts'

/** How a store is copied. */
export interface CopyOptions {
  /** How long to wait for another writer of the target, in ms; default as the store was opened with. */
  lockWaitMs?: number | undefined
  /** Rejects with `signal.reason`. The next copy goes on. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

export const COPY_OPTIONS: OptionTable<CopyOptions> = { lockWaitMs: 'ms', signal: 'signal', onProgress: 'function' }

/** What a copy has, and what travelled. */
export interface Copied {
  /** Of the HEAD that was copied. */
  revision: number
  /** Its current snapshot; null when there is none. */
  sequence: number | null
  packs: number
  /** In bytes, of all packs. */
  bytes: number
  /** Of those that the target did not have. */
  copiedBytes: number
  /** Names of packs with bad blocks in the store itself. They were copied as they are. */
  damaged: readonly string[]
}

/** How often HEAD is read again when a pack that it named is gone because a writer has committed since. */
const HEAD_READS_MAX = 16
const READ_BYTES = 4 * 1024 * 1024

/** @throws SNAPSHOT_NOT_FOUND, TARGET_EXISTS, NOT_A_STORE, STORE_LOCKED, PACK_MISSING, PACK_DAMAGED */
export async function copyStore(
  ctx: StoreContext,
  target: Storage,
  options: CopyOptions & { lockWaitMs: number },
): Promise<Copied> {
  if (target.location === ctx.storage.location) throw new TypeError(`copy: ${target.location} is the store itself`)
  const { stored, packs, release } = await pinPacks(ctx)
  try {
    const onWait = watchWait(ctx, options.onProgress)
    const found = await target.inspect()
    // An interrupted copy has no HEAD yet, or lacks STORE.json. Where nothing was begun, the storage looks whether
    // there is room for a store.
    const repair = found.packs.length > 0 || found.store.state !== 'missing' || found.head.state !== 'missing'
    return await target.write(
      { waitMs: options.lockWaitMs, signal: options.signal, onWait, repair },
      async (session) => await copyInto(target, session, stored.head, packs, options),
    )
  } finally {
    await release()
  }
}

/** HEAD, and all packs that it names, held open. */
async function pinPacks(
  ctx: StoreContext,
): Promise<{ stored: StoredHead; packs: Map<string, OpenPack>; release: () => Promise<void> }> {
  for (let reads = 1; ; reads++) {
    const stored = await ctx.storage.readHead()
    if (stored === null) {
      throw new HoldfastError('SNAPSHOT_NOT_FOUND', `nothing was ever persisted to ${ctx.storage.location}`, {
        details: { location: ctx.storage.location },
      })
    }
    // A newer version may have put into HEAD what a copy by this one would lose.
    assertWritable(ctx, stored)
    const storeId = fromHex(stored.head.storeId, STORE_ID_BYTES)
    const packs = new Map<string, OpenPack>()
    const release = async (): Promise<void> => {
      for (const pack of packs.values()) await pack.release()
    }
    try {
      for (const { name } of stored.head.packs) packs.set(name, await ctx.packCache.open(name, storeId))
      return { stored, packs, release }
    } catch (error) {
      await release()
      const now = isDamage(error) ? await ctx.storage.readHead() : null
      if (now === null || now.head.revision === stored.head.revision || reads >= HEAD_READS_MAX) throw error
    }
  }
}

async function copyInto(
  target: Storage,
  session: WriteSession,
  { journal: _, ...head }: Head,
  packs: ReadonlyMap<string, OpenPack>,
  options: CopyOptions,
): Promise<Copied> {
  await assertOlder(target, head)
  const others = await packsOfCopy(target, session, head)
  const bytes = head.packs.reduce((sum, pack) => sum + pack.bytes, 0)
  const damaged: string[] = []
  let done = 0
  let copiedBytes = 0
  for (const pack of head.packs) {
    options.signal?.throwIfAborted()
    // A pack never changes: what is there under its name was copied and read back before.
    if ((await session.packBytes(pack.name)) !== pack.bytes) {
      const { isWhole } = await copyPack(target, session, head, pack, packs.get(pack.name)!, options.signal)
      if (!isWhole) damaged.push(pack.name)
      copiedBytes += pack.bytes
    }
    done += pack.bytes
    options.onProgress?.({ phase: 'copying', bytes: done, totalBytes: bytes })
  }
  const { store, head: there } = await target.inspect()
  if (store.state === 'damaged') await session.quarantineFile('STORE.json', 'damaged', {})
  if (there.state === 'damaged') await session.quarantineFile('HEAD.json', 'damaged', {})
  // HEAD comes last. The one that was there becomes HEAD.prev.json.
  if (store.state !== 'good' || there.state !== 'good' || there.value.head.revision < head.revision) {
    await session.restoreHead(head)
  }
  // The HEAD before is kept whole, for the day on which HEAD.json is lost.
  const needed = new Set(session.previous?.packs.map(({ name }) => name))
  for (const name of others) if (!needed.has(name)) await session.deletePack(name)
  return { revision: head.revision, sequence: head.current, packs: head.packs.length, bytes, copiedBytes, damaged }
}

/** Refuses a target that is another store, or a copy that was written to since. */
async function assertOlder(target: Storage, head: Head): Promise<void> {
  const { store, head: there } = await target.inspect()
  const id = store.state === 'good' ? store.value : there.state === 'good' ? there.value.head.storeId : null
  if (id !== null && id !== head.storeId) {
    throw new HoldfastError(
      'TARGET_EXISTS',
      `${target.location} holds another store (${id}, not ${head.storeId}): give a directory of its own`,
      { details: { path: target.location } },
    )
  }
  if (there.state !== 'good') return
  const { revision, writes } = there.value.head
  const [last] = writes
  // HEAD lists its last writes, so the copied one is among them unless the copy is very old.
  const isOurs = last === undefined || head.writes.includes(last) || head.revision - revision >= head.writes.length
  if (revision <= head.revision && isOurs) return
  throw new HoldfastError(
    'TARGET_EXISTS',
    `${target.location} was written to after it was copied, or is newer than this store (revision ${revision}, here ${head.revision}): nothing ` +
      'was copied. Give another directory',
    { details: { path: target.location } },
  )
}

/** Copies a pack and reads it back. A pack that is as bad here as there is copied; `verify` tells of it. */
async function copyPack(
  target: Storage,
  session: WriteSession,
  head: Head,
  { name, bytes }: HeadPack,
  from: OpenPack,
  signal: AbortSignal | undefined,
): Promise<{ isWhole: boolean }> {
  const sink = await session.createPack(head.revision)
  try {
    const buffer = Buffer.allocUnsafeSlow(READ_BYTES)
    for (let position = 0; position < from.file.bytes; position += READ_BYTES) {
      signal?.throwIfAborted()
      const part = buffer.subarray(0, Math.min(READ_BYTES, from.file.bytes - position))
      await from.file.read(part, position)
      await sink.write([part], position)
    }
    await sink.commit(name)
  } catch (error) {
    await sink.discard()
    throw error
  }
  const storeId = fromHex(head.storeId, STORE_ID_BYTES)
  const copy = await createPackCache(target).open(name, storeId)
  try {
    if (copy.file.bytes === bytes && (await isWhole(copy))) return { isWhole: true }
  } finally {
    await copy.release()
  }
  if (!(await isWhole(from))) return { isWhole: false }
  await session.deletePack(name)
  throw new HoldfastError(
    'PACK_DAMAGED',
    `the copy of pack ${name} in ${target.location} is not what was written to it`,
    {
      details: { pack: name, bytes },
    },
  )
}

async function isWhole(pack: OpenPack): Promise<boolean> {
  try {
    const index = await pack.index()
    for await (const { bad } of scanPack(pack.file, index)) if (bad.size > 0) return false
    return true
  } catch (error) {
    if (isDamage(error)) return false
    throw error
  }
}

/** Packs that are there and that HEAD does not name. They are of earlier copies. */
async function packsOfCopy(target: Storage, session: WriteSession, head: Head): Promise<string[]> {
  const ours: string[] = []
  for (const [name, claim] of await inspectPacks(session, head)) {
    if (claim === null || 'unreadable' in claim) continue
    if (claim.storeId === head.storeId) ours.push(name)
    else {
      throw new HoldfastError(
        'TARGET_EXISTS',
        `${target.location} has packs of another store: give a directory of its own`,
        {
          details: { path: target.location },
        },
      )
    }
  }
  return ours
}
