// Brings a store up to date with another one, wherever the two are: block by block, as a writer of the one and a reader
// of the other. Their store ids, HEADs and packs are their own; what they share are manifests.

import { isAbsolute } from 'node:path'
import type { StoreContext } from './blocks/store-context.ts'
import { HoldfastError, isDamage, isHoldfastError } from './errors.ts'
import { assertElsewhere } from './fs/elsewhere.ts'
import { planReplica } from './history/plan-replica.ts'
import { insideOf, type StoreInside } from './inside.ts'
import { assertOptions, type OptionTable } from './misuse.ts'
import { copyContent } from './persist/copy-content.ts'
import { persistContent } from './persist/persist.ts'
import type { OnProgress } from './progress.ts'
import type { StoredHead } from './storage/port.ts'
import type { Store } from './store.ts'
import { term } from './terms.ts'

/** How a store is replicated. */
export interface ReplicateOptions {
  /** `append`: also onto a store whose current snapshot never was one of the source. Without it that is `DIVERGED`. */
  onto?: 'append' | undefined
  /** How long to wait for another writer of the target, in ms; default as it was opened with. */
  lockWaitMs?: number | undefined
  /** Rejects with `signal.reason`. Snapshots that are complete stay; the next call goes on. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

const REPLICATE_OPTIONS: OptionTable<ReplicateOptions> = {
  onto: 'any',
  lockWaitMs: 'ms',
  signal: 'signal',
  onProgress: 'function',
}

/** What a replication did. */
export interface Replicated {
  /** Of the current snapshot of the target. */
  sequence: number
  /** How many snapshots it got. */
  snapshots: number
  /** That were written to it. */
  bytes: number
}

/** How often a plan is made again, because writers of either store were faster. */
const PLANS_MAX = 16

/**
 * Gives `to` each snapshot that `from` has since: content, message and order, and neither tags nor times. Only blocks
 * that `to` lacks travel, and each is verified. The retention of `to` is its own.
 *
 * @throws DIVERGED, SNAPSHOT_NOT_FOUND when `from` has no snapshot, SNAPSHOT_DAMAGED, and what a persist throws
 */
export async function replicate(from: Store, to: Store, options: ReplicateOptions = {}): Promise<Replicated> {
  assertOptions('replicate', options, REPLICATE_OPTIONS)
  const { onto } = options
  if (onto !== undefined && onto !== 'append') throw new TypeError(`replicate: onto is 'append', got ${String(onto)}`)
  if (from === to) throw new TypeError(`replicate: ${to.location} is the store itself`)
  const source = insideOf(from, 'replicate')
  const target = insideOf(to, 'replicate')
  await assertTwoStores(source.ctx, target.ctx)
  return await source.run(() => target.run(() => bringUpToDate(source, target, options)))
}

/** Two store objects of one place would find that all is there, and nothing was copied. */
async function assertTwoStores(source: StoreContext, target: StoreContext): Promise<void> {
  const { storage: from, fs } = source
  const { storage: to } = target
  if (from.address !== undefined && from.address === to.address) {
    throw new TypeError(`replicate: ${to.location} is the store itself`)
  }
  const areDirectories = isAbsolute(from.location) && isAbsolute(to.location)
  if (areDirectories && fs === target.fs) await assertElsewhere(fs, 'replicate', from.location, to.location)
}

async function bringUpToDate(source: StoreInside, target: StoreInside, options: ReplicateOptions): Promise<Replicated> {
  const done = { sequence: 0, snapshots: 0, bytes: 0 }
  for (let plans = 1; ; plans++) {
    const stored = await source.ctx.storage.readHead()
    if (stored === null || stored.head.current === null) throw nothingToCopy(source.ctx.storage.location)
    const there = await target.ctx.storage.readHead()
    const { add, diverged } = planReplica(stored.head, there?.head ?? null)
    // What was appended before by this call is no divergence.
    if (diverged && options.onto !== 'append') throw divergence(source, target)
    let expectedHead = there?.head.current ?? null
    try {
      for (const snapshot of add) {
        const { lockWaitMs, signal, onProgress } = options
        const { message } = snapshot
        const commit = { message, expectedHead, lockWaitMs, signal, onProgress }
        const made = await persistContent(target.ctx, 'replicate', commit, target.defaults, {
          ingest: (into, signal) => copyContent({ ctx: source.ctx, stored, snapshot }, into, signal),
        })
        expectedHead = made.sequence
        done.snapshots += 1
        done.bytes += made.bytes.written
      }
      if (add.length === 0) await settle(target, options)
      return { ...done, sequence: expectedHead! }
    } catch (error) {
      if (plans >= PLANS_MAX || !(await isOvertaken(source, stored, error))) throw error
    }
  }
}

/** Makes durable what an earlier call may have committed. */
async function settle({ ctx, defaults }: StoreInside, { lockWaitMs, signal }: ReplicateOptions): Promise<void> {
  if (ctx.storage.uncertain?.() !== true) return
  await ctx.storage.write({ waitMs: lockWaitMs ?? defaults.lockWaitMs, signal }, async () => undefined)
}

/** Whether another writer was faster: of the target, or of the source, which gave up packs that were to be read. */
async function isOvertaken(source: StoreInside, stored: StoredHead, error: unknown): Promise<boolean> {
  if (isHoldfastError(error, 'HEAD_CONFLICT', 'PACK_GONE')) return true
  if (!isDamage(error)) return false
  const now = await source.ctx.storage.readHead()
  return now !== null && now.head.revision !== stored.head.revision
}

function nothingToCopy(location: string): HoldfastError {
  return new HoldfastError('SNAPSHOT_NOT_FOUND', `nothing was ever persisted to ${location}`, { details: { location } })
}

function divergence(source: StoreInside, target: StoreInside): HoldfastError {
  const [from, to] = [source.ctx.storage.location, target.ctx.storage.location]
  return new HoldfastError(
    'DIVERGED',
    `the current snapshot of ${to} is none that ${from} keeps: it was written to by others, or is so old that ${from} has dropped the snapshot; ` +
      `${term('append')} puts the source's snapshots behind it`,
    { details: { from, to } },
  )
}
