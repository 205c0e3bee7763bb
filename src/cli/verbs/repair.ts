// `holdfast repair`: prints what is to be done, and does it. It drops no snapshot unless it is told to.

import { type Command, Option } from 'commander'
import type { RepairAction, RepairOptions, RepairReport, Store } from '../../index.ts'
import { plainValue } from '../document.ts'
import { Refusal } from '../failure.ts'
import type { Line } from '../screen.ts'
import type { Session } from '../session.ts'
import type { Verb } from '../verb.ts'

interface Options {
  dryRun?: boolean
  dropIncomplete?: boolean
  rolledBack?: 'newer' | 'older'
  unreadable?: 'lost'
  journal?: 'skip'
}

export const repair: Verb = {
  usage: 'repair',
  summary: 'bring a damaged store back; nothing is deleted',
  description:
    'Rebuilds HEAD, rescues good blocks, and moves what is doubtful to quarantine. It stops, and changes nothing, if a snapshot would be dropped ' +
    'that cannot be completed: look for missing packs in a copy of the store first, or give --drop-incomplete. An intact store is not changed.',
  examples: [
    'repair --dry-run -s ./data/search',
    'repair -s ./data/search',
    'repair --drop-incomplete -s ./data/search',
  ],
  options: (command: Command) =>
    command
      .option('-n, --dry-run', 'print what would be done, and change nothing')
      .option('--drop-incomplete', 'drop snapshots that cannot be completed')
      .addOption(
        new Option('--rolled-back <which>', 'when an old HEAD was put back: which history to go on with').choices([
          'newer',
          'older',
        ]),
      )
      .addOption(new Option('--unreadable <what>', 'lost: take what the disk cannot read as lost').choices(['lost']))
      .addOption(
        new Option('--journal <what>', 'skip: go on without the entries that a damaged journal lost').choices(['skip']),
      ),
  async run(session, _args, options: Options) {
    const { rolledBack, unreadable, journal, dryRun = false, dropIncomplete = false } = options
    const request: RepairOptions = {
      rolledBack,
      unreadable,
      journal,
      signal: session.signal,
      onProgress: session.onProgress,
    }
    const store = dryRun ? await session.read() : await session.write()
    const report = dryRun
      ? await store.repair({ ...request, dryRun: true })
      : await apply(session, store, { ...request, mayDrop: dropIncomplete })
    return {
      document: { store: store.location, dryRun, ...reportDocument(report) },
      text: () => reportLines(report, dryRun),
      isNotice: !dryRun,
    }
  },
}

async function apply(session: Session, store: Store, request: RepairOptions): Promise<RepairReport> {
  try {
    return await store.repair(request)
  } catch (error) {
    const { isHoldfastError } = await import('../../index.ts')
    const isRefused = request.mayDrop === false && isHoldfastError(error, 'SNAPSHOT_DAMAGED')
    if (!isRefused || !Array.isArray(error.details.sequences)) throw error
    const sequences = error.details.sequences as number[]
    const plan = await store.repair({ ...request, mayDrop: true, dryRun: true })
    throw new Refusal(
      'SNAPSHOT_DAMAGED',
      'damaged',
      `${session.location}: the repair would drop snapshot ${sequences.slice(0, 10).join(', ')}, which cannot be completed. Put missing packs back ` +
        'from a copy of the store, or give --drop-incomplete',
      { details: { sequences, actions: plan.actions.map((action) => plainValue(action)) }, next: 'repair --dry-run' },
    )
  }
}

function reportDocument({
  ok,
  actions,
  snapshots,
  choice,
  offers,
  applied,
  quarantined,
}: RepairReport): Record<string, unknown> {
  return { ok, actions, snapshots, choice, offers, applied, quarantined }
}

function reportLines(
  { ok, actions, snapshots, choice, offers, applied, quarantined }: RepairReport,
  dryRun: boolean,
): Line[] {
  if (ok) return ['Nothing to do: the store is intact.']
  const lines: Line[] = [{ text: applied ? 'Done:' : 'To be done:', style: 'bold' }]
  lines.push(...actions.map((action) => `  ${actionText(action)}`))
  for (const [file, path] of Object.entries(quarantined)) lines.push(`  ${file} is now ${path}`)
  if (choice !== null) {
    lines.push(
      'An old HEAD was put back. Go on with one of these:',
      `  --rolled-back newer: adopts what was saved after it, and keeps snapshots ${offers?.newer.join(', ') || 'none'}`,
      `  --rolled-back older: goes on without that, and keeps snapshots ${offers?.older.join(', ') || 'none'}`,
    )
  } else lines.push(`Snapshots that are kept: ${snapshots.join(', ') || 'none'}`)
  if (dryRun) lines.push('Nothing was changed.')
  return lines
}

function actionText(action: RepairAction): string {
  switch (action.action) {
    case 'rescue-blocks':
      return `copy ${action.blocks} good blocks of pack ${action.pack} into a new pack`
    case 'rebuild-segments':
      return `rebuild ${action.blocks} lost segments blocks`
    case 'renew-records':
      return `write the commit records of ${action.snapshots} snapshots again`
    case 'quarantine-file':
      return `move ${action.file} to quarantine: ${action.why}`
    case 'quarantine-pack':
      return `move pack ${action.pack} to quarantine: ${action.why}`
    case 'quarantine-segment':
      return `move ${action.segment}.log of the journal to quarantine: ${action.why}`
    case 'restore-head':
      return `replace HEAD from ${action.from}: ${action.why}; what is lost: ${action.loses}`
    case 'restore-store-file':
      return `write STORE.json again: ${action.why}`
    case 'adopt-pack':
      return `adopt pack ${action.pack} (${action.blocks} blocks)`
    case 'forget-pack':
      return `forget the missing pack ${action.pack}`
    case 'correct-head':
      return `correct HEAD: ${action.why}`
    case 'drop-snapshot':
      return `drop snapshot ${action.sequence}: ${action.why}`
    case 'set-current':
      return action.to === null
        ? `leave the store without a current snapshot: ${action.why}`
        : `make snapshot ${action.to} the current one: ${action.why}`
    case 'restore-journal':
      return `name the journal again, up to ${action.segment}`
    case 'skip-entries':
      return `record what the journal lost (${entriesText(action.entries)}): ${action.why}`
  }
}

function entriesText(entries: readonly [number, number][]): string {
  if (entries.length === 0) return 'no entry'
  return `entries ${entries.map(([first, last]) => (first === last ? `${first}` : `${first} to ${last}`)).join(', ')}`
}
