// A report: one self-contained page about a store, for people. It reads nodes and indexes, and changes nothing.

import type { StoreContext } from '../blocks/store-context.ts'
import type { OnProgress } from '../progress.ts'
import { gatherFacts, type Verified } from './facts.ts'
import { modelOf } from './model.ts'
import type { Report, ReportOptions } from './options.ts'
import { pageOf } from './page.ts'

/** @param verify as the store's method */
export async function report(
  ctx: StoreContext,
  { verify: level = 'none', redact = false, signal, onProgress }: ReportOptions,
  verify: (options: {
    level: 'quick' | 'full'
    signal: AbortSignal | undefined
    onProgress: OnProgress | undefined
  }) => Promise<Verified>,
): Promise<Report> {
  if (!['none', 'quick', 'full'].includes(level)) {
    throw new TypeError(`report: verify is 'none', 'quick' or 'full', got ${JSON.stringify(level)}`)
  }
  const verified = level === 'none' ? null : await verify({ level, signal, onProgress })
  const facts = await gatherFacts(ctx, verified, signal)
  const { revision, current, uncounted, snapshots } = facts.stats
  const sequences = (field: 'damaged' | 'unread'): number[] =>
    snapshots.filter((snapshot) => snapshot[field]).map(({ sequence }) => sequence)
  return {
    html: pageOf(modelOf(facts, redact)),
    revision,
    current,
    ok: verified?.ok ?? null,
    uncounted,
    damaged: sequences('damaged'),
    unread: sequences('unread'),
  }
}
