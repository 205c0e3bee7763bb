// `holdfast snapshots`: what is kept, newest first; and, for cron, whether the current snapshot is young enough.

import { type Command, Option } from 'commander'
import { clock } from '../../clock.ts'
import type { SnapshotInfo } from '../../index.ts'
import { EXIT } from '../exit-codes.ts'
import { parseDuration } from '../notation.ts'
import { durationText, type Line, type Part, type Screen, sizeText, table, timeText } from '../screen.ts'
import type { Verb } from '../verb.ts'

export const snapshots: Verb = {
  usage: 'snapshots',
  summary: 'list the snapshots that are kept, newest first',
  description:
    'With --max-age it ends with exit code 16 when the current snapshot is older, or there is none. A save of unchanged data makes no snapshot.',
  examples: ['snapshots -s ./data/search', 'snapshots -s ./data/search --max-age 1h --quiet'],
  options: (command: Command) =>
    command.addOption(
      new Option('--max-age <duration>', 'exit code 16 if the current snapshot is older than this').argParser(
        parseDuration,
      ),
    ),
  async run(session, _args, { maxAge }: { maxAge?: number }) {
    const store = await session.read()
    const list = await store.snapshots()
    const current = list.find((snapshot) => snapshot.current)
    const ageMs = current === undefined ? null : Math.max(clock.nowMs() - current.time.getTime(), 0)
    const isTooOld = maxAge !== undefined && (ageMs === null || ageMs > maxAge)
    return {
      document: {
        store: store.location,
        ageMs,
        ...(maxAge === undefined ? {} : { maxAgeMs: maxAge, tooOld: isTooOld }),
        snapshots: list.map(snapshotDocument),
      },
      text: (screen) => [...snapshotLines(list, screen), ...ageLines(isTooOld, ageMs)],
      isNotice: maxAge !== undefined && !isTooOld,
      exit: isTooOld ? EXIT.tooOld : EXIT.done,
    }
  },
}

function ageLines(isTooOld: boolean, ageMs: number | null): Line[] {
  if (!isTooOld) return []
  const text = ageMs === null ? 'there is no current snapshot' : `the current snapshot is ${durationText(ageMs)} old`
  return [{ text: `too old: ${text}`, style: 'red' }]
}

function snapshotLines(list: readonly SnapshotInfo[], screen: Screen): Line[] {
  if (list.length === 0) return ['No snapshot is kept.']
  return table(
    [
      // A shorter title than elsewhere: with it a screen of 40 columns has room for the state.
      { title: 'NUMBER', align: 'right', rank: 6 },
      { title: 'TIME', rank: 5 },
      { title: 'STATE', rank: 4 },
      { title: 'SIZE', align: 'right', rank: 3 },
      { title: 'TAGS', rank: 2 },
      { title: 'MESSAGE', rank: 1 },
    ],
    list.map((snapshot): Part[] => [
      String(snapshot.sequence),
      timeText(snapshot.time),
      snapshot.current ? { text: 'current', style: 'green' } : snapshot.abandoned ? 'abandoned' : '',
      sizeText(snapshot.size),
      snapshot.tags.join(' '),
      snapshot.message ?? '',
    ]),
    screen,
  )
}

/** A snapshot of the history, as documents have it. */
export function snapshotDocument(snapshot: SnapshotInfo): Record<string, unknown> {
  const { sequence, manifest, time, message, tags, current, abandoned, size, covers } = snapshot
  return { sequence, manifest, time, message, tags: [...tags], current, abandoned, size, covers }
}

/** `snapshot 41 of 2026-11-20 10:15:03Z`. */
export function snapshotText({ sequence, time }: SnapshotInfo): string {
  return `snapshot ${sequence} of ${timeText(time)}`
}
