// `holdfast stats`: what the store takes, and why.

import type { Stats } from '../../index.ts'
import { countText, type Line, type Screen, sizeText, table } from '../screen.ts'
import type { Verb } from '../verb.ts'

export const stats: Verb = {
  usage: 'stats',
  summary: 'say what each snapshot added and would free, and what else takes space',
  description:
    'ADDED is what no older snapshot has. FREES is what no other snapshot has; do not add it up: two snapshots that share what nobody else has free ' +
    'more together. forget --dry-run says it for a set.',
  examples: ['stats -s ./data/search', 'stats --json -s ./data/search'],
  async run(session) {
    const store = await session.read()
    const result = await store.stats({ signal: session.signal })
    return {
      document: { store: store.location, ...result },
      text: (screen) => statsLines(result, screen),
    }
  },
}

function statsLines(result: Stats, screen: Screen): Line[] {
  const { snapshots, packs, packBytes, liveBytes, recordBytes, garbageBytes, overheadBytes } = result
  const beside = (['retired', 'files', 'images', 'quarantine', 'journal'] as const).filter(
    (name) => result[name].count > 0,
  )
  return [
    ...(snapshots.length === 0
      ? ['No snapshot is kept.']
      : table(
          [
            { title: 'SNAPSHOT', align: 'right', rank: 5 },
            { title: 'SIZE', align: 'right', rank: 2 },
            { title: 'ADDED', align: 'right', rank: 4 },
            { title: 'FREES', align: 'right', rank: 3 },
            { title: '', rank: 3.5 },
          ],
          snapshots.map(({ sequence, size, addedBytes, freesBytes, damaged }) => [
            String(sequence),
            sizeText(size),
            sizeText(addedBytes),
            sizeText(freesBytes),
            damaged ? { text: 'damaged', style: 'red' } : sequence === result.current ? 'current' : '',
          ]),
          screen,
        )),
    ...tooSmall(snapshots),
    '',
    `${countText(packs.length, 'pack')}: ${sizeText(packBytes)}`,
    ...inPacks([
      [liveBytes, 'needed by snapshots'],
      [recordBytes, 'records of them'],
      [garbageBytes, 'garbage'],
      [overheadBytes, 'headers and footers'],
    ]),
    ...beside.map((name) => `${name}: ${sizeText(result[name].bytes)} in ${countText(result[name].count, 'file')}`),
  ]
}

/** One line for each part, so that no line is wider than a narrow screen. */
function inPacks(parts: readonly (readonly [bytes: number, what: string])[]): Line[] {
  const sizes = parts.map(([bytes]) => sizeText(bytes))
  const wide = Math.max(...sizes.map(({ length }) => length))
  return parts.map(([, what], i) => `  ${sizes[i]!.padStart(wide)}  ${what}`)
}

function tooSmall(snapshots: Stats['snapshots']): Line[] {
  const damaged = snapshots.filter((snapshot) => snapshot.damaged).map(({ sequence }) => sequence)
  if (damaged.length === 0) return []
  const which = damaged.length === 1 ? `snapshot ${damaged[0]}` : `snapshots ${damaged.join(', ')}`
  return [
    {
      text: `What ${which} added and would free, and what is needed, are too small: damage hides the rest. "holdfast verify" says what is damaged.`,
      style: 'red',
    },
  ]
}
