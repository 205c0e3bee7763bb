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

/** What a repair goes on from: the newest HEAD that can be believed, or an empty one. */
export interface BaseHead {
  storeId: Uint8Array
  /** Store ids (hex) that packs claim, by name. */
  owners: ReadonlyMap<string, string>
  base: Head
  from: 'HEAD.json' | 'HEAD.prev.json' | 'commit records'
  /** HEAD.json as it lies there, if it is good and this store's. */
  currentHead: Head | null
  /** What HEAD.json says whose line ends or layout alone were changed; it is this store's. */
  relaid: Head | null
  /** In words, when it is not. */
  whyNoHead: string
  /** HEAD.json seems to be a copy of HEAD.prev.json: what is of the next revision may have been acknowledged. */
  putBack: boolean
  /** HEAD.prev.json, likewise. */
  previous: Head | null
  /** STORE.json is good and this store's. */
  storeFileIsGood: boolean
  /** Files that are damaged or another store's. */
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
  // A newer version's HEAD holds fields that this version would drop.
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

/** Treats HEAD.json as lost, because HEAD.prev.json is newer. */
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
 * The store id that these files belong to. Of the ids that STORE.json or a HEAD has, one that packs have goes before one that none
 * has: both HEADs of another store may have been copied here, and they name nothing that is here. Then it is what most of the files
 * say, then what most packs say. Packs alone do not decide: another store's may have been copied into this one.
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

/** Without the lock, a pack may be deleted before it is opened. */
async function openIfThere(ctx: StoreContext, name: string): Promise<PackFile | null> {
  try {
    return await ctx.storage.openPack(name)
  } catch (error) {
    if (isHoldfastError(error, 'PACK_MISSING')) return null
    throw error
  }
}
