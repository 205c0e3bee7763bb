// Lines for people: what is harmless, what fits, and what is told of long work.

import { Writable } from 'node:stream'
import { expect, test, vi } from 'vitest'
import { createProgressLine, progressText } from '../../src/cli/progress-line.ts'
import { cutTo, durationText, type Line, printable, render, sizeText, table, width } from '../../src/cli/screen.ts'
import { clock } from '../../src/clock.ts'
import { eventually } from '../support/eventually.ts'

test('nothing that a store holds can drive a terminal, forge a line, or turn the direction of text', () => {
  expect(printable('\u001b[2Jred\u0007\u009b31m')).toBe('\\x1b[2Jred\\x07\\x9b31m')
  expect(printable('one\ntwo\r\tthree')).toBe('one\\ntwo\\r\\tthree')
  expect(printable('a\u202egnp.exe\u2066\u061c\ufeff\u{e0041}')).toBe(
    'a\\u{202e}gnp.exe\\u{2066}\\u{61c}\\u{feff}\\u{e0041}',
  )
  expect(printable('größe 索引 👩‍🔬 می‌خواهم')).toBe('größe 索引 👩‍🔬 می‌خواهم')
  for (let code = 0; code < 0x3000; code++) {
    const shown = printable(`<${String.fromCodePoint(code)}>`)
    expect(shown).not.toMatch(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/u)
  }
})

test('styles are written only where there is color, and around text that is harmless', () => {
  const line = [{ text: 'a\u001b', style: 'red' as const }, ' b\n']
  expect(render([line], { columns: null, color: false })).toBe('a\\x1b b\\n\n')
  expect(render([line], { columns: null, color: true })).toBe('\u001b[31ma\\x1b\u001b[39m b\\n\n')
})

const columns = [
  { title: 'NUMBER', align: 'right' as const, rank: 3 },
  { title: 'SIZE', align: 'right' as const, rank: 1 },
  { title: 'MESSAGE', rank: 2 },
]

test('a table fits the screen: its last text is cut, then columns go by their rank', () => {
  const rows = [
    ['1', '12.3 MiB', 'a message of some length'],
    ['12', '4 B', '索引'],
  ]
  const at = (width: number | null) =>
    render(table(columns, rows, { columns: width }), { columns: width, color: false })
  expect(at(null)).toBe(
    'NUMBER      SIZE  MESSAGE\n     1  12.3 MiB  a message of some length\n    12       4 B  索引\n',
  )
  expect(at(32)).toBe('NUMBER      SIZE  MESSAGE\n     1  12.3 MiB  a message of…\n    12       4 B  索引\n')
  expect(at(24)).toBe('NUMBER  MESSAGE\n     1  a message of so…\n    12  索引\n')
  const paths = columns.map((column) => ({ ...column, least: 20 }))
  expect(render(table(paths, rows, { columns: 37 }), { columns: 37, color: false })).toBe(
    'NUMBER  MESSAGE\n     1  a message of some length\n    12  索引\n',
  )
  for (let columns = 8; columns < 60; columns++) {
    for (const line of at(columns).split('\n')) expect(width(line), `${columns}: ${line}`).toBeLessThanOrEqual(columns)
  }
})

test('a column in which nothing is written is left out', () => {
  expect(render(table(columns, [['1', '', 'x']], { columns: null }), { columns: null, color: false })).toBe(
    'NUMBER  MESSAGE\n     1  x\n',
  )
})

test('text is cut at columns of the terminal, not in the middle of a character', () => {
  expect(cutTo('索引索引', 8)).toBe('索引索引')
  expect(cutTo('索引索引', 7)).toBe('索引索…')
  expect(cutTo('索引索引', 6)).toBe('索引…')
})

test('sizes and durations are short', () => {
  expect([0, 1023, 1024, 1536, 102_400 * 1024, 3 * 2 ** 40].map(sizeText)).toEqual([
    '0 B',
    '1023 B',
    '1.0 KiB',
    '1.5 KiB',
    '100 MiB',
    '3.0 TiB',
  ])
  expect([0, 999, 1000, 61_000, 3_600_000, 11_100_000, 90_000_000].map(durationText)).toEqual([
    '0 ms',
    '999 ms',
    '1 s',
    '1 min 1 s',
    '1 h',
    '3 h 5 min',
    '1 d 1 h',
  ])
})

test('progress tells how much, how fast and how long', () => {
  const at = (bytes: number, ms: number) =>
    progressText({ phase: 'loading', blob: 'in\u001bdex', bytes, totalBytes: 100 * 1024 * 1024 }, ms)
  expect(at(10 * 1024 * 1024, 2000)).toBe('loading in\\x1bdex: 10.0 MiB of 100 MiB (10 %), 5.0 MiB/s, 18 s left')
  expect(at(10 * 1024 * 1024, 500)).toBe('loading in\\x1bdex: 10.0 MiB of 100 MiB (10 %), 20.0 MiB/s')
  expect(at(0, 0)).toBe('loading in\\x1bdex: 0 B of 100 MiB (0 %)')
  expect(progressText({ phase: 'reading', blob: 'a', bytes: 10, totalBytes: null, writtenBytes: 0 }, 0)).toBe(
    'reading a: 10 B',
  )
  expect(progressText({ phase: 'waiting', waitedMs: 4000 }, 0)).toBe('waiting for another writer: 4 s')
})

test('progress is drawn after half a second, and not at all for what is done by then', async () => {
  const timers: { callback: () => void; ms: number }[] = []
  const start = vi.spyOn(clock, 'startTimer').mockImplementation((callback, ms) => {
    timers.push({ callback, ms })
    return { unref: () => undefined } as unknown as NodeJS.Timeout
  })
  const stop = vi.spyOn(clock, 'stopTimer').mockImplementation(() => undefined)
  try {
    let drawn = ''
    const stream = Object.assign(
      new Writable({
        write(bytes, _encoding, done) {
          drawn += String(bytes)
          done()
        },
      }),
      { columns: 40, rows: 20, isTTY: true },
    ) as unknown as NodeJS.WriteStream
    const quick = createProgressLine('tag', stream)
    expect(timers.map(({ ms }) => ms)).toEqual([500])
    quick.end()
    timers.pop()!.callback()
    await vi.dynamicImportSettled()
    expect(drawn).toBe('')

    const slow = createProgressLine('verify', stream)
    slow.onProgress({ phase: 'verifying', bytes: 10, totalBytes: 1000 })
    timers.pop()!.callback()
    await eventually(() => expect(drawn).toContain('verifying: 10 B of 1000 B (1 %)'))
    slow.end()
  } finally {
    start.mockRestore()
    stop.mockRestore()
  }
})

test('a line that is too long is broken between words, below its text', () => {
  const at = (columns: number | null, ...lines: Line[]) => render(lines, { columns, color: false })
  expect(at(20, 'one two three four five six')).toBe('one two three four\n  five six\n')
  expect(at(20, '  ok   name: what was found')).toBe('  ok   name: what\n       was found\n')
  expect(at(20, 'tags       one two three')).toBe('tags       one two\n           three\n')
  expect(at(null, 'one two three four five six')).toBe('one two three four five six\n')
  expect(at(27, 'one two three four five six')).toBe('one two three four five six\n')
  // A path stays in one piece, where it is.
  const path = '/a/path/that/is/wider/than/the/screen'
  expect(at(20, `pack ${path} is gone`)).toBe(`pack ${path}\n  is gone\n`)
  // So does a command.
  const next: Line = ['Next: ', { text: 'holdfast gc -s x', style: 'bold', whole: true }]
  expect(at(20, next)).toBe('Next:\n  holdfast gc -s x\n')
  // Styles and wide characters do not change where it breaks.
  const colored: Line = [{ text: 'one two', style: 'red' }, ' three 四五六 seven']
  expect(at(20, colored)).toBe('one two three 四五六\n  seven\n')
  const raw = render([colored], { columns: 20, color: true })
  expect(raw.replaceAll(new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, 'g'), '')).toBe(at(20, colored))
})
