// `holdfast stats`: what the store takes, and why.

import type { Stats } from '../../index.ts'
import { countText, type Line, type Screen, sizeText, table } from '../screen.ts'
import { exitOfUncounted, uncountedLines } from '../uncounted-lines.ts'
import type { Verb } from '../verb.ts'

export const stats: Verb = {
  usage: 'stats',
  summary: 'say what each snapshot added and would free, and what else takes space',
  description:
    'ADDED is what no older snapshot has. FREES is what no other snapshot has; do not add it up: two snapshots that share what nobody else has free ' +
    'more together. forget --dry-run says it for a set. What cannot be read is not counted, and named; the exit code is then 13, or 10 where it is ' +
    'damaged.',
  examples: ['stats -s ./data/search', 'stats --json -s ./data/search'],
  async run(session) {
    const store = await session.read()
    const result = await store.stats({ signal: session.signal })
    return {
      document: { store: store.location, ...result },
      text: (screen) => statsLines(result, screen),
      exit: exitOfUncounted(
        result.uncounted,
        result.snapshots.some(({ damaged }) => damaged),
      ),
    }
  },
}

function statsLines(result: Stats, screen: Screen): Line[] {
  const {
    uncounted,
    snapshots,
    packs,
    packBytes,
    liveBytes,
    recordBytes,
    garbageBytes,
    overheadBytes,
    uncountedBytes,
  } = result
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
          snapshots.map(({ sequence, size, addedBytes, freesBytes, damaged, unread }) => [
            String(sequence),
            sizeText(size),
            sizeText(addedBytes),
            sizeText(freesBytes),
            damaged || unread
              ? { text: damaged ? 'damaged' : 'not read', style: 'red' }
              : sequence === result.current
                ? 'current'
                : '',
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
      [uncountedBytes, 'not counted'],
    ]),
    ...beside.map((name) => `${name}: ${sizeText(result[name].bytes)} in ${countText(result[name].count, 'file')}`),
    ...uncountedLines(uncounted),
  ]
}

/** One line for each part, so that no line is wider than a narrow screen. */
function inPacks(parts: readonly (readonly [bytes: number, what: string])[]): Line[] {
  const shown = parts.filter(([bytes, what]) => bytes > 0 || what !== 'not counted')
  const sizes = shown.map(([bytes]) => sizeText(bytes))
  const wide = Math.max(...sizes.map(({ length }) => length))
  return shown.map(([, what], i) => `  ${sizes[i]!.padStart(wide)}  ${what}`)
}

function tooSmall(snapshots: Stats['snapshots']): Line[] {
  const lines: Line[] = []
  for (const why of ['damaged', 'unread'] as const) {
    const sequences = snapshots.filter((snapshot) => snapshot[why]).map(({ sequence }) => sequence)
    if (sequences.length === 0) continue
    const which = sequences.length === 1 ? `snapshot ${sequences[0]}` : `snapshots ${sequences.join(', ')}`
    const because =
      why === 'damaged'
        ? 'damage hides the rest. "holdfast verify" says what is damaged.'
        : 'some of it could not be read, and may be whole.'
    const text = `What ${which} added and would free, and what is needed, are too small: ${because}`
    lines.push({ text, style: 'red' })
  }
  return lines
}
