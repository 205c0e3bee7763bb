// `holdfast verify`: looks at everything, changes nothing, and says what is damaged.

import type { Problem, SnapshotHealth, VerifyReport } from '../../index.ts'
import { EXIT, type ExitCode } from '../exit-codes.ts'
import { countText, durationText, type Line, sizeText } from '../screen.ts'
import type { Session } from '../session.ts'
import type { Verb } from '../verb.ts'

export const verify: Verb = {
  usage: 'verify',
  summary: 'check the whole store, and change nothing; exit code 10 if something is damaged',
  examples: ['verify -s ./data/search', 'verify --quick --json -s ./data/search'],
  options: (command) => command.option('--quick', 'check every structure, but do not read the bytes of blobs'),
  async run(session, _args, { quick }: { quick?: boolean }) {
    const store = await session.read()
    const { signal, onProgress } = session
    const report = await store.verify({ level: quick === true ? 'quick' : 'full', signal, onProgress })
    const { location, durationMs, ...rest } = report
    return {
      document: { store: location, ...rest, durationMs: Math.round(durationMs) },
      text: () => reportLines(report, session),
      isNotice: report.ok,
      exit: exitOf(report),
    }
  },
}

function exitOf({ ok, problems }: VerifyReport): ExitCode {
  return ok ? EXIT.done : exitCodeOfProblems(problems)
}

function reportLines(report: VerifyReport, session: Session): Line[] {
  const { ok, level, problems, snapshots, checked, journal, durationMs } = report
  const isUnread = exitOf(report) === EXIT.environment
  const read = level === 'full' ? `, ${countText(checked.blocks, 'block')}, ${sizeText(checked.bytes)}` : ''
  const what = `${countText(snapshots.length, 'snapshot')}, ${countText(checked.packs, 'pack')}${read}`
  const looked = `checked ${what} in ${durationText(durationMs)}`
  const lines: Line[] = [
    ok
      ? { text: `ok: ${looked}`, style: 'green' }
      : { text: `${isUnread ? 'not readable' : 'damaged'}: ${looked}`, style: 'red' },
  ]
  if (journal === 'skipped') lines.push('The journal is in use by its owner and was not checked.')
  lines.push(...problemLines(problems), ...snapshots.filter(({ intact }) => !intact).map(healthLine))
  // What could not be read may be whole: nothing is repaired before it can be.
  const next = session.commandLine(isUnread ? 'doctor' : 'repair --dry-run')
  if (!ok) lines.push(['Next: ', { text: next, style: 'bold', whole: true }])
  return lines
}

/** Damaged; unless it is no store of ours, or the disk could not be read and everything else is well. */
export function exitCodeOfProblems(problems: readonly Problem[]): ExitCode {
  const open = problems.filter(({ recorded }) => recorded !== true)
  if (open.some(({ code }) => code === 'NOT_A_STORE' || code === 'VERSION_UNSUPPORTED')) return EXIT.unsupported
  if (open.length > 0 && open.every(({ code }) => code === 'IO_FAILED')) return EXIT.environment
  return EXIT.damaged
}

export function problemLines(problems: readonly Problem[]): Line[] {
  return problems.map((problem): Line => {
    const known = problem.recorded === true ? ' (known)' : ''
    return [
      { text: `${problem.code} `, style: problem.recorded === true ? 'yellow' : 'red' },
      `${problem.message}${known}`,
    ]
  })
}

function healthLine({ sequence, damagedBlobs, manifestLost }: SnapshotHealth): Line {
  const what = manifestLost ? 'its manifest cannot be read' : `damaged: ${damagedBlobs.join(', ')}`
  return `snapshot ${sequence} cannot be loaded whole: ${what}`
}
