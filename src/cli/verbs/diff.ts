// `holdfast diff`: what differs between two snapshots, blob by blob.

import type { Diff } from '../../index.ts'
import { type Line, type Screen, sizeText, table } from '../screen.ts'
import { findSnapshot } from '../session.ts'
import type { Verb } from '../verb.ts'

export const diff: Verb = {
  usage: 'diff <from> [to]',
  summary: 'say which blobs differ between two snapshots, and how many bytes are new',
  description:
    '<to> is the current snapshot unless it is given. Bytes are shared if the older snapshot has them anywhere.',
  examples: ['diff current~1 -s ./data/search', 'diff v1 v2 --ranges --json -s ./data/search'],
  options: (command) => command.option('--ranges', 'in the JSON document, which byte ranges of each blob are new'),
  async run(session, [from, to], { ranges }: { ranges?: boolean }) {
    const store = await session.read()
    const before = await findSnapshot(store, from!)
    const after = await findSnapshot(store, to ?? 'current')
    const result = await store.diff(before.sequence, after.sequence, { ranges, signal: session.signal })
    return {
      document: { store: store.location, ...result },
      text: (screen) => diffLines(result, screen),
    }
  },
}

function diffLines({ from, to, blobs, unchanged, sharedBytes, newBytes }: Diff, screen: Screen): Line[] {
  const total = `${from} → ${to}: ${sizeText(newBytes)} new, ${sizeText(sharedBytes)} shared, ${unchanged} blobs unchanged`
  if (blobs.length === 0) return [total]
  return [
    ...table(
      [
        { title: 'CHANGE', rank: 4 },
        { title: 'BEFORE', align: 'right', rank: 1 },
        { title: 'SIZE', align: 'right', rank: 2 },
        { title: 'NEW', align: 'right', rank: 3 },
        { title: 'BLOB', rank: 5, least: 20 },
      ],
      blobs.map(({ name, change, sizeBefore, size, newBytes: added }) => [
        change,
        sizeText(sizeBefore),
        sizeText(size),
        sizeText(added),
        name,
      ]),
      screen,
    ),
    '',
    total,
  ]
}
