// Opens everything that HEAD names for a verify or a scrub, and keeps it readable while others write and delete.

import { basename } from 'node:path'
import { createPackCache, type OpenPack } from '../blocks/pack-cache.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError, isDamage, isHoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { HEADER_BYTES, STORE_ID_BYTES } from '../format/limits.ts'
import { claimIn, type PackClaim } from '../gc/pack-claims.ts'
import { planSweep, rolledBack } from '../gc/plan-sweep.ts'
import type { Inspection, StoredHead } from '../storage/port.ts'
import type { Problem } from './problem.ts'

/** The store that verify reads. Its packs stay readable even if a writer deletes them meanwhile. */
export interface Pinned {
  problems: Problem[]
  /** Null, without problems: no store was ever made here. */
  stored: StoredHead | null
  /** Open packs with a good index. */
  packs: OpenPack[]
  /** All other packs that HEAD names. */
  failures: { pack: string; error: HoldfastError }[]
}

/** Packs look missing when a writer commits while they are opened. Then HEAD is read again. */
const PIN_TRIES = 16

export async function pinStore(ctx: StoreContext): Promise<Pinned> {
  for (let tries = 1; ; tries++) {
    const pinned: Pinned = { ...(await readHeads(ctx)), packs: [], failures: [] }
    const { stored } = pinned
    if (stored === null) return pinned
    await openAll(ctx, stored.head, pinned)
    const missing = pinned.failures.some(({ error }) => error.code === 'PACK_MISSING')
    if (!missing || !(await hasMoved(ctx, stored))) return pinned
    for (const pack of pinned.packs) await pack.release()
    if (tries < PIN_TRIES) continue
    throw new HoldfastError('SNAPSHOT_GONE', `${ctx.storage.location} is written to faster than it can be verified`, {
      details: { revision: stored.head.revision },
    })
  }
}

async function hasMoved(ctx: StoreContext, stored: StoredHead): Promise<boolean> {
  const now = await ctx.storage.readHead()
  return now?.head.revision !== stored.head.revision
}

const FILES = ['STORE.json', 'HEAD.json', 'HEAD.prev.json']

async function readHeads(ctx: StoreContext): Promise<Pick<Pinned, 'problems' | 'stored'>> {
  const problems: Problem[] = []
  let found: Inspection | null = null
  try {
    // The files are inspected before HEAD is read, so they are no newer than that HEAD.
    found = await ctx.storage.inspect()
    const stored = await ctx.storage.readHead()
    if (stored !== null) problems.push(...(await besideHead(ctx, found, stored.head)), ...obstaclesIn(found))
    return { problems, stored }
  } catch (error) {
    if (!isHoldfastError(error) || !isVerdict(error, found)) throw error
    const file = basename(String(error.details.path ?? error.details.where))
    const what = FILES.includes(file) ? file : 'HEAD.json'
    problems.push({ code: error.code, what, message: error.message })
    return { problems, stored: null }
  }
}

function obstaclesIn({ obstacles }: Inspection): Problem[] {
  return obstacles.map(({ what, error: { code, message } }) => ({ code, what, message, obstacle: true }))
}

/** Whether the error concerns a store. Otherwise there is no store to report on. */
function isVerdict(error: HoldfastError, found: Inspection | null): boolean {
  const isStore = found !== null && (found.store.state === 'good' || found.previous.state === 'good')
  if (isHoldfastError(error, 'NOT_A_STORE')) return isStore
  return error.kind === 'damaged' || error.code === 'IO_FAILED'
}

/** Checks the spare HEAD, and the packs that HEAD does not name. */
async function besideHead(ctx: StoreContext, found: Inspection, head: Head): Promise<Problem[]> {
  const problems: Problem[] = []
  const { previous } = found
  const what = 'HEAD.prev.json'
  const spare = 'it is only a spare, the next write replaces it'
  if (previous.state === 'damaged') {
    problems.push({ code: 'HEAD_DAMAGED', what, message: `${previous.error.message}; ${spare}` })
  } else if (previous.state === 'good' && previous.value.head.storeId !== head.storeId) {
    problems.push({ code: 'STORE_DAMAGED', what, message: `${what} belongs to another store; ${spare}` })
  }
  const known = new Set([...head.packs, ...head.retired].map(({ name }) => name))
  const claims = new Map<string, PackClaim | null>()
  for (const { name } of found.packs) claims.set(name, known.has(name) ? null : await claimOf(ctx, name, problems))
  const before = previous.state === 'good' && previous.value.head.storeId === head.storeId ? previous.value.head : null
  const plan = planSweep(head, before, claims, { putBack: found.putBack })
  if (plan.future.length > 0) {
    const { code, message } = rolledBack(ctx.storage.location, head, plan)
    problems.push({ code, what: 'HEAD.json', message })
  }
  return problems
}

/** Reads a pack's header. Null if the pack was deleted meanwhile, as an orphan may be, or cannot be read. */
async function claimOf(ctx: StoreContext, name: string, problems: Problem[]): Promise<PackClaim | null> {
  try {
    const file = await ctx.storage.openPack(name)
    try {
      const bytes = new Uint8Array(Math.min(HEADER_BYTES, file.bytes))
      await file.read(bytes, 0)
      return claimIn(bytes, name)
    } finally {
      await file.close()
    }
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    const { code, message } = error
    if (!isDamage(error)) problems.push({ code, what: `pack ${name}`, message, pack: name })
    return null
  }
}

/** Bypasses the pack cache, because a cached index says nothing about the disk. */
async function openAll(ctx: StoreContext, head: Head, into: Pick<Pinned, 'packs' | 'failures'>): Promise<void> {
  const packCache = createPackCache(ctx.storage)
  const storeId = fromHex(head.storeId, STORE_ID_BYTES)
  for (const { name } of head.packs) {
    let pack: OpenPack | null = null
    try {
      pack = await packCache.open(name, storeId)
      await pack.index()
      into.packs.push(pack)
    } catch (error) {
      await pack?.release()
      if (!isHoldfastError(error)) throw error
      into.failures.push({ pack: name, error })
    }
  }
}
