// The table of which snapshots stay, and why.

import type { PersistResult } from '../index.ts'
import { type Line, type Screen, table } from './screen.ts'

export function keptLines(kept: PersistResult['kept'], screen: Screen): Line[] {
  return table(
    [
      { title: 'KEPT', align: 'right', rank: 2 },
      { title: 'BECAUSE', rank: 1 },
    ],
    kept.map(({ sequence, reasons }) => [String(sequence), reasons.join(', ')]),
    screen,
  )
}
