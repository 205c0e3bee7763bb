// What the tests of reports read from a page.

import { expect } from 'vitest'
import type { Stats } from '../../src/index.ts'

/** The exact number of `<data id="…">`. */
export function numberOf(page: string, id: string): number | undefined {
  const value = new RegExp(`<data value="(\\d+)" id="${id}">`).exec(page)?.[1]
  return value === undefined ? undefined : Number(value)
}

/** Every number of `stats` is on the page; what is nothing may be left out. */
export function expectNumbers(page: string, stats: Stats): void {
  const { liveBytes, recordBytes, packBytes, garbageBytes, overheadBytes, retired, files, quarantine, journal } = stats
  const said = {
    liveBytes,
    recordBytes,
    packBytes,
    garbageBytes,
    overheadBytes,
    retired: retired.bytes,
    files: files.bytes,
    quarantine: quarantine.bytes,
    journal: journal.bytes,
    ...Object.fromEntries(
      stats.snapshots.flatMap(({ sequence, addedBytes, freesBytes }) => [
        [`added-${sequence}`, addedBytes],
        [`frees-${sequence}`, freesBytes],
      ]),
    ),
  }
  expect(Object.fromEntries(Object.keys(said).map((id) => [id, numberOf(page, id) ?? 0]))).toEqual(said)
}

/** Names that would be markup, would turn the text around, or would leave their element. */
export const HOSTILE = [
  '</script><img src=x onerror="document.title=1">',
  '"><svg onload=alert(1)>',
  "' onmouseover='alert(1)",
  '</title></style><!--',
  'photo\u202egnp.exe',
  '\u2066hidden\u2069\u0007\u001b[31m',
  'n'.repeat(1024),
]
