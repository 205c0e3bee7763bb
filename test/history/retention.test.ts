import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { HeadSnapshot } from '../../src/format/head.ts'
import { planRetention } from '../../src/history/retention.ts'

/** `9 8a 7t 6at`: sequences, newest first; `a` abandoned, `t` tagged. */
function history(text: string): HeadSnapshot[] {
  return text.split(' ').map((word) => ({
    sequence: Number.parseInt(word, 10),
    manifest: '',
    time: '',
    tags: word.includes('t') ? ['tag'] : [],
    abandoned: word.includes('a'),
    pack: 0,
    packs: [0],
    size: 0,
  }))
}

test.each([
  ['keeps all there are', '2 1', 2, 3, '2 1'],
  ['keeps the newest', '5 4 3 2 1', 5, 3, '5 4 3'],
  ['keeps one', '5 4 3 2 1', 5, 1, '5'],
  ['keeps tagged ones besides', '5 4 3t 2 1t', 5, 2, '5 4 3t 1t'],
  ['counts tagged ones among the newest', '5t 4t 3 2 1', 5, 3, '5t 4t 3'],
  ['keeps the current one however old it is', '5 4 3 2 1', 1, 2, '5 4 1'],
  ['keeps what was just stepped over, so that the rollback can be taken back', '4 3a 2a 1', 4, 3, '4 3a 2a 1'],
  ['does not count abandoned ones among the good', '5 4a 3a 2 1', 5, 3, '5 4a 3a 2 1'],
  ['drops abandoned ones that are old', '6 5 4 3a 2a 1', 6, 3, '6 5 4'],
  ['drops abandoned ones by their age among all', '6 5 4a 3a 2 1', 6, 3, '6 5 4a 2'],
  ['keeps an abandoned one that is tagged', '6 5 4 3 2at 1', 6, 2, '6 5 2at'],
  ['keeps the good ones behind a hundred abandoned', '9 8a 7a 6a 5a 4a 3a 2 1', 9, 2, '9 8a 2'],
])('retention %s', (_, before, current, keepLast, after) => {
  expect(planRetention(history(before), current, keepLast)).toEqual(history(after))
})

test('retention of anything keeps the current one, the tagged ones and the newest good ones, in order', () => {
  const anyHistory = fc
    .uniqueArray(fc.integer({ min: 1, max: 40 }), { minLength: 1 })
    .chain((sequences) =>
      fc.tuple(
        ...sequences
          .toSorted((a, b) => b - a)
          .map((sequence) =>
            fc
              .tuple(fc.boolean(), fc.boolean())
              .map(([abandoned, tagged]) => history(`${sequence}${abandoned ? 'a' : ''}${tagged ? 't' : ''}`)[0]!),
          ),
      ),
    )
  fc.assert(
    fc.property(anyHistory, fc.integer({ min: 1, max: 10 }), fc.nat(), (snapshots, keepLast, pick) => {
      const current = snapshots[pick % snapshots.length]!
      const kept = planRetention(snapshots, current.sequence, keepLast)
      const good = snapshots.filter(({ abandoned }) => !abandoned).slice(0, keepLast)
      expect(kept).toEqual(snapshots.filter((snapshot) => kept.includes(snapshot)))
      for (const snapshot of [current, ...good, ...snapshots.filter(({ tags }) => tags.length > 0)]) {
        expect(kept).toContain(snapshot)
      }
      const extra = kept.filter(
        (snapshot) => !good.includes(snapshot) && snapshot !== current && snapshot.tags.length === 0,
      )
      expect(extra.every((snapshot) => snapshot.abandoned && snapshots.indexOf(snapshot) < keepLast)).toBe(true)
      // What retention has been at need not be done again.
      expect(planRetention(kept, current.sequence, keepLast)).toEqual(
        expect.arrayContaining(kept.filter((snapshot) => !snapshot.abandoned || snapshot.tags.length > 0)),
      )
    }),
  )
})
