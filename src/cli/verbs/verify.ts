// `holdfast verify`: looks at everything, changes nothing, and says what is damaged.

import type { Problem, SnapshotHealth, VerifyReport } from '../../index.ts'
import { EXIT } from '../exit-codes.ts'
import { durationText, type Line, sizeText } from '../screen.ts'
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
      text: () => reportLines(report),
      isNotice: report.ok,
      exit: report.ok ? EXIT.done : EXIT.damaged,
    }
  },
}

function reportLines({ ok, level, problems, snapshots, checked, journal, advice, durationMs }: VerifyReport): Line[] {
  const read = level === 'full' ? `, ${checked.blocks} blocks, ${sizeText(checked.bytes)}` : ''
  const looked = `${snapshots.length} snapshots, ${checked.packs} packs${read} checked in ${durationText(durationMs)}`
  const lines: Line[] = [ok ? { text: `ok: ${looked}`, style: 'green' } : { text: `damaged: ${looked}`, style: 'red' }]
  if (journal === 'skipped') lines.push('The journal is in use by its owner and was not checked.')
  lines.push(...problemLines(problems), ...snapshots.filter(({ intact }) => !intact).map(healthLine))
  if (advice !== '') lines.push(advice)
  return lines
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
  const what = manifestLost ? 'its manifest is lost' : `damaged: ${damagedBlobs.join(', ')}`
  return `snapshot ${sequence} cannot be loaded whole: ${what}`
}
