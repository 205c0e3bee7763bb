// Reads the segments of a journal that lie on the disk, and refuses a journal that is not whole. It changes nothing.

import { join } from 'node:path'
import { HoldfastError } from '../errors.ts'
import type { FileSystem } from '../fs/port.ts'
import { term } from '../terms.ts'
import type { Mark } from './appender.ts'
import type { JournalHead } from './find-chain.ts'
import { foundMarks, foundRanges, markIn } from './parts.ts'
import type { JournalPlace } from './place.ts'
import { planRecovery, type ReadPlan, type RecoveryPlan } from './plan-recovery.ts'
import { listSegments, readSegment } from './read-segments.ts'
import { isFlaw, type SegmentFacts } from './scan.ts'
import { type Range, type SegmentName, segmentFileName } from './segment.ts'

/** Where a journal ends that nobody has open. Only to be asked with its lock held. */
export async function readJournalEnd(place: JournalPlace): Promise<{ last: number; mark: Mark | null }> {
  const { head, from } = await place.readState()
  if (head === null) return { last: 0, mark: null }
  const plan = await recover(place, await listSegments(place.fs, place.directory), head, from, 1)
  return { last: plan.last, mark: markIn(foundMarks(plan, foundRanges(plan, null)), plan.last) }
}

/**
 * Looks at a whole journal, and changes nothing. An owner that writes meanwhile may make it look damaged.
 *
 * @throws JOURNAL_DAMAGED, STORE_ROLLED_BACK, IO_FAILED, VERSION_UNSUPPORTED
 */
export async function checkJournal(
  place: Pick<JournalPlace, 'fs' | 'directory'>,
  head: JournalHead | null,
): Promise<void> {
  const names = await listSegments(place.fs, place.directory)
  if (head === null) await assertNoFrames(place, names)
  else await recover(place, names, head, null, 1)
}

/** All segments that lie there, scanned from their first frames on. */
export async function scanAll(fs: FileSystem, directory: string): Promise<SegmentFacts[]> {
  const facts: SegmentFacts[] = []
  for (const name of await listSegments(fs, directory)) facts.push(await readSegment(fs, directory, name, null))
  return facts
}

/** Reads what may matter, and refuses what is not whole. */
export async function recover(
  { fs, directory }: Pick<JournalPlace, 'fs' | 'directory'>,
  names: readonly SegmentName[],
  head: JournalHead,
  from: Mark | null,
  firstEntry: number,
): Promise<ReadPlan> {
  const begin = from?.segment ?? head.first
  const needed = names.filter(({ number }) => number >= begin.number)
  const facts = []
  for (const name of needed) {
    const isHint = from !== null && name.number === begin.number && name.id === begin.id
    facts.push(await readSegment(fs, directory, name, isHint ? from.offset : null))
  }
  // Next frames may have led on from HEAD's tail to where the reading begins.
  const tail = begin.number > head.tail.number ? begin : head.tail
  const plan = assertReadable(
    directory,
    planRecovery(facts, { ...head, first: begin, tail }, from?.first ?? firstEntry),
  )
  if (plan.damage.length > 0) throw damagedError(directory, plan)
  return plan
}

/** @throws IO_FAILED, STORE_ROLLED_BACK */
export function assertReadable(directory: string, plan: RecoveryPlan): ReadPlan {
  if (plan.state === 'unreadable') {
    const path = join(directory, segmentFileName(plan.segment))
    throw new HoldfastError(
      'IO_FAILED',
      `Failed while reading ${path} at byte ${plan.at}: the device cannot read it. Look at the kernel log and check the disk. ` +
        'Nothing was changed',
      { details: { code: 'EIO', syscall: 'read', path } },
    )
  }
  if (plan.state === 'rolledBack') {
    const path = join(directory, segmentFileName(plan.segment))
    throw new HoldfastError(
      'STORE_ROLLED_BACK',
      `${path} was named by a later HEAD than the one that is there: an old HEAD was put back. Put the newer one back. ` +
        `Or ${term('repairNewer')} names what is there, and ${term('repairOlder')} moves it to quarantine. Nothing was changed`,
      { details: { files: [path] } },
    )
  }
  return plan
}

/**
 * A HEAD that names no journal was rebuilt or put back, when there are entries. What died before it was named has none.
 */
export async function assertNoFrames(
  { fs, directory }: Pick<JournalPlace, 'fs' | 'directory'>,
  names: readonly SegmentName[],
): Promise<void> {
  for (const name of names) {
    const { places } = await readSegment(fs, directory, name, null)
    if (places.every(isFlaw)) continue
    const path = join(directory, segmentFileName(name))
    throw new HoldfastError(
      'JOURNAL_DAMAGED',
      `HEAD names no journal, but there are entries in ${path}. Nothing was changed. Bring back the HEAD.json that names it. Or ` +
        `${term('repairNewer')} names what is there, and ${term('startJournalOver')} goes on without its entries`,
      { details: { path } },
    )
  }
}

function damagedError(directory: string, { damage, lost, last }: ReadPlan): HoldfastError {
  const { segment, at, reason } = damage[0]!
  const path = join(directory, segmentFileName(segment))
  const entries = lost.length === 0 ? 'no entry is lost' : `lost are entries ${lost.map(textOf).join(', ')}`
  return new HoldfastError(
    'JOURNAL_DAMAGED',
    `${path} at byte ${at}: ${reason}; ${entries}. Nothing was changed. Bring the file back from a backup or a ` +
      `mirror. Or ${term('repairJournal')} gives up the entries that cannot be read and keeps the others, and ${term('startJournalOver')} gives up all of them`,
    { details: { path, at, lost, last } },
  )
}

export function textOf({ first, last }: Range): string {
  return first === last ? `${first}` : `${first} to ${last}`
}
