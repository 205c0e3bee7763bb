// What a repair makes of a store's journal: names it again when HEAD was lost, and records what cannot be read. It
// changes nothing itself.

import { join } from 'node:path'
import { clock } from '../clock.ts'
import { commitUnknown } from '../fs/durable.ts'
import { moveAside } from '../fs/move-aside.ts'
import type { JournalHead } from '../journal/find-chain.ts'
import type { Range } from '../journal/segment.ts'
import type { JournalQuestion, RepairedJournal } from '../recovery/repair-plan.ts'
import { DIRECTORY, headJournalOf, type JournalFiles, journalHeadOf, nameOf } from './place.ts'

/** @throws IO_FAILED for what cannot be read now, unless it counts as lost; STORE_ROLLED_BACK */
export async function planJournalRepair(
  files: JournalFiles | null,
  question: JournalQuestion,
): Promise<RepairedJournal> {
  const { base, rebuild, older, skip, unreadableIsLost } = question
  const setAside = (segment: string, reason: string, why: string) => quarantineSegment(files!, segment, reason, why)
  if (files === null || !(rebuild || older || skip))
    return { journal: base.journal, skips: null, actions: [], setAside }
  const directory = join(files.root, DIRECTORY)
  const { assertReadable, scanAll } = await import('../journal/recover.ts')
  const { planRecovery, withoutRanges } = await import('../journal/plan-recovery.ts')
  const { laterThan, planGivenUp, planHead, planSkip } = await import('../journal/plan-repair.ts')
  let facts = await scanAll(files.fs, directory)
  const actions: RepairedJournal['actions'] = []
  let head = base.journal === undefined ? null : journalHeadOf(base.storeId, base.journal)
  let skips: [number, number][] | null = null
  const isOld = head === null || planRecovery(facts, head, 1, unreadableIsLost).state === 'rolledBack'
  const found =
    isOld && (rebuild || (head === null && !older)) ? planHead(facts, base.storeId, idsIn(question, head)) : null
  if (found !== null) {
    head = { ...found.head, seen: head?.seen ?? null, lost: head?.lost ?? null }
    skips = found.skips.map(pairOf)
    actions.push({ action: 'restore-journal', journal: head.id, segment: headJournalOf(head).tail })
  }
  if (older) {
    const later = laterThan(facts, head, unreadableIsLost)
    facts = facts.filter((each) => !later.includes(each))
    for (const { name } of later) {
      const why = 'a HEAD named it that is newer than the one that is there'
      actions.push({ action: 'quarantine-segment', segment: nameOf(name), reason: 'rolled-back', why })
    }
    if (head !== null && later.length > 0) {
      const { last } = assertReadable(directory, planRecovery(facts, head, 1, unreadableIsLost))
      head = { ...head, lost: planGivenUp(later, last, head) }
    }
  }
  if (head === null) return { journal: undefined, skips: null, actions, setAside }
  if (skip) {
    const plan = assertReadable(directory, planRecovery(facts, head, 1, unreadableIsLost))
    const lost = planSkip(plan, head.lost)
    if (lost !== null) {
      const entries = withoutRanges(lost.entries, head.lost?.entries ?? [])
      actions.push({ action: 'skip-entries', entries: entries.map(pairOf), why: plan.damage[0]!.reason })
      head = { ...head, lost }
    }
  }
  return { journal: headJournalOf(head), skips, actions, setAside }
}

async function quarantineSegment(
  { fs, root }: JournalFiles,
  segment: string,
  reason: string,
  why: string,
): Promise<string> {
  const from = join(root, DIRECTORY, `${segment}.log`)
  const about = { reason, now: clock.now(), details: { why } }
  try {
    return await moveAside(fs, { ...about, from, quarantineDirectory: join(root, 'quarantine') })
  } catch (error) {
    throw commitUnknown(error, from, 'was moved into quarantine', 'it may be back. Repair again')
  }
}

/** The journal that HEAD names, or else those that snapshots name, the newest first. */
function idsIn({ snapshots }: JournalQuestion, head: JournalHead | null): string[] {
  if (head !== null) return [head.id]
  return snapshots.flatMap(({ covers }) => (covers === undefined ? [] : [covers.journal]))
}

function pairOf({ first, last }: Range): [number, number] {
  return [first, last]
}
