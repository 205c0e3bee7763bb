// Decides which HEAD a repair starts from: HEAD.json, HEAD.prev.json, or one rebuilt from commit records. It reads and
// changes nothing.

import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError, isHoldfastError } from '../errors.ts'
import { emptyHead } from '../format/empty-head.ts'
import type { Head } from '../format/head.ts'
import { fromHex, toHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import { assertWritable } from '../history/write-guards.ts'
import type { Found, Inspection, PackFile, StoredHead, StoreFileName } from '../storage/port.ts'
import { readHeader } from './salvage.ts'

/** The HEAD that a repair starts from: the newest one that is trustworthy, or an empty one. */
export interface BaseHead {
  storeId: Uint8Array
  /** Store ids (hex) in the headers of packs, by pack name. */
  owners: ReadonlyMap<string, string>
  base: Head
  from: 'HEAD.json' | 'HEAD.prev.json' | 'commit records'
  /** Other writers may have lost to HEAD, and left records of snapshots that were never committed. */
  isShared: boolean
  /** HEAD.json as found, if it is good and of this store. */
  currentHead: Head | null
  /** The content of a HEAD.json of this store in which only line ends or layout were changed. */
  relaid: Head | null
  /** Why `currentHead` is null, in words. */
  whyNoHead: string
  /**
   * HEAD.json seems to be a copy of HEAD.prev.json, so packs of the next revision may belong to an acknowledged
   * snapshot.
   */
  putBack: boolean
  /** HEAD.prev.json, if it is good and of this store. */
  previous: Head | null
  /** STORE.json is good and of this store. */
  storeFileIsGood: boolean
  /** Files that are damaged or of another store. */
  toQuarantine: { file: StoreFileName; reason: 'damaged' | 'other-store' | 'older-than-spare'; why: string }[]
}

export async function findBaseHead(
  ctx: StoreContext,
  found: Inspection,
  options: { unreadableIsLost: boolean },
): Promise<BaseHead> {
  const owners = await packOwners(ctx, found, options)
  const storeId = ownStoreId(ctx, found, owners)
  const good = (file: Found<StoredHead>): StoredHead | null =>
    file.state === 'good' && file.value.head.storeId === storeId ? file.value : null
  const there = good(found.head)
  const relaid = original(found.head, storeId)
  const previous = good(found.previous) ?? original(found.previous, storeId)
  // A HEAD of a newer version has fields that this version would drop.
  for (const stored of [there, relaid, previous]) if (stored !== null) assertWritable(ctx, stored)
  const aside: BaseHead['toQuarantine'] = []
  const look = (file: StoreFileName, state: Found<unknown>, owner: string | undefined): void => {
    if (state.state === 'damaged') aside.push({ file, reason: 'damaged', why: state.error.message })
    if (state.state === 'good' && owner !== storeId) {
      aside.push({ file, reason: 'other-store', why: `it is of store ${owner}, this is ${storeId}` })
    }
  }
  const { store } = found
  look('STORE.json', store, store.state === 'good' ? store.value : undefined)
  look('HEAD.json', found.head, ownerOf(found.head))
  look('HEAD.prev.json', found.previous, ownerOf(found.previous))
  return {
    storeId: fromHex(storeId, STORE_ID_BYTES),
    owners,
    base: (there ?? relaid ?? previous)?.head ?? emptyHead(storeId),
    from: (there ?? relaid) !== null ? 'HEAD.json' : previous !== null ? 'HEAD.prev.json' : 'commit records',
    isShared: !ctx.storage.supports.alone,
    currentHead: there?.head ?? null,
    relaid: relaid?.head ?? null,
    whyNoHead: aside.find(({ file }) => file === 'HEAD.json')?.why ?? 'HEAD.json is missing',
    putBack: there !== null && found.putBack,
    previous: previous?.head ?? null,
    storeFileIsGood: store.state === 'good' && store.value === storeId,
    toQuarantine: aside,
  }
}

function original(file: Found<StoredHead>, storeId: string): StoredHead | null {
  const stored = file.state === 'damaged' ? file.original : undefined
  return stored?.head.storeId === storeId ? stored : null
}

/** Treats HEAD.json as lost when HEAD.prev.json is newer. */
export function withoutHead(start: BaseHead, previous: Head): BaseHead {
  const why = `it is of revision ${start.currentHead?.revision}, HEAD.prev.json of ${previous.revision}`
  return {
    ...start,
    base: previous,
    from: 'HEAD.prev.json',
    currentHead: null,
    relaid: null,
    whyNoHead: why,
    toQuarantine: [...start.toQuarantine, { file: 'HEAD.json', reason: 'older-than-spare', why }],
  }
}

function ownerOf(found: Found<StoredHead>): string | undefined {
  return found.state === 'good' ? found.value.head.storeId : undefined
}

/**
 * Decides which store id is this store's. Candidates are the ids in STORE.json and the HEADs. An id that packs have
 * wins over one that no pack has, because the HEADs of another store may have been copied here without its packs. Then
 * the id in most of the files wins, then the id in most packs. Packs alone do not decide, because packs of another
 * store may have been copied here.
 */
function ownStoreId(ctx: StoreContext, found: Inspection, owners: ReadonlyMap<string, string>): string {
  const files = new Map<string, number>()
  const packs = new Map<string, number>()
  const vote = (votes: Map<string, number>, id: string): void => void votes.set(id, (votes.get(id) ?? 0) + 1)
  if (found.store.state === 'good') vote(files, found.store.value)
  for (const head of [found.head, found.previous]) if (head.state === 'good') vote(files, head.value.head.storeId)
  for (const owner of owners.values()) vote(packs, owner)
  for (const file of [found.store, found.head, found.previous]) {
    if (file.state !== 'damaged' || file.original === undefined) continue
    vote(files, typeof file.original === 'string' ? file.original : file.original.head.storeId)
  }
  const votes = (id: string): [number, number] => [files.get(id) ?? 0, packs.get(id) ?? 0]
  const both = (id: string): number => (files.has(id) && packs.has(id) ? 1 : 0)
  const [winner] = [...new Set([...files.keys(), ...packs.keys()])].sort((a, b) => {
    const [filesA, packsA] = votes(a)
    const [filesB, packsB] = votes(b)
    return both(b) - both(a) || filesB - filesA || packsB - packsA
  })
  if (winner !== undefined) return winner
  throw new HoldfastError('NOT_A_STORE', `there is nothing of a store in ${ctx.storage.location} that can be read`, {
    details: { location: ctx.storage.location },
  })
}

async function packOwners(
  ctx: StoreContext,
  found: Inspection,
  options: { unreadableIsLost: boolean },
): Promise<Map<string, string>> {
  const owners = new Map<string, string>()
  for (const { name } of found.packs) {
    const file = await openIfThere(ctx, name)
    if (file === null) continue
    try {
      const header = await readHeader(file, options)
      if (header !== null) owners.set(name, toHex(header.storeId))
    } finally {
      await file.close()
    }
  }
  return owners
}

/** Without the lock, a pack may be deleted before it is opened; that gives null. */
async function openIfThere(ctx: StoreContext, name: string): Promise<PackFile | null> {
  try {
    return await ctx.storage.openPack(name)
  } catch (error) {
    if (isHoldfastError(error, 'PACK_MISSING')) return null
    throw error
  }
}
