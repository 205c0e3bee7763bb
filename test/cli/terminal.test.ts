// What people see: in a pseudo-terminal of 40 and of 120 columns, with and without colors.

import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { persistSnapshot } from '../../src/index.ts'
import { scratch } from '../support/scratch.ts'
import { holdfast } from './holdfast.ts'
import { hasTerminal, inTerminal } from './terminal.ts'

const ESCAPE = String.fromCharCode(27)

async function storeWithHistory(): Promise<string> {
  const store = join(scratch(), 'store')
  await persistSnapshot(store, {
    blobs: { a: 'one' },
    message: 'the first save, with a message that is long enough to be cut',
  })
  await persistSnapshot(store, {
    blobs: { a: 'two', [`evil${ESCAPE}[2J`]: 'x' },
    message: `${ESCAPE}]0;title\u0007 and\nmore`,
  })
  return store
}

describe.skipIf(!hasTerminal)('in a terminal', () => {
  test('a list fits 120 columns, with the current snapshot in color', async () => {
    const store = await storeWithHistory()
    const { exit, raw, screen } = await inTerminal(`holdfast snapshots -s ${store}`)
    expect(exit).toBe(0)
    expect(screen).toHaveLength(3)
    expect(screen[0]).toBe('NUMBER  TIME                  STATE    SIZE  MESSAGE')
    expect(screen[1]).toMatch(
      /^ {5}2 {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ {2}current {3}4 B {2}\\x1b\]0;title\\x07 and\\nmore$/,
    )
    expect(screen[2]).toMatch(/the first save, with a message that is long enough to be cut$/)
    expect(raw).toContain(`${ESCAPE}[32mcurrent`)
    expect(raw).not.toContain(`${ESCAPE}]0;`)
  })

  test('a list fits 40 columns: every snapshot is one line', async () => {
    const store = await storeWithHistory()
    const { screen } = await inTerminal(`holdfast snapshots -s ${store}`, { columns: 40 })
    expect(screen).toHaveLength(3)
    // The state stays also after a rollback, with its longest word.
    const after = await inTerminal(`holdfast rollback 1 -q -s ${store}; holdfast snapshots -s ${store}`, {
      columns: 40,
    })
    expect(after.screen[2]).toMatch(/^ {5}2 {2}\S+ \S+ {2}abandoned$/)
    expect(screen[1]).toMatch(/^ {5}2 {2}\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ {2}current$/)
  })

  test.each([40, 120])(
    'lines of %i columns break between words, and what goes on stands below the text',
    async (columns) => {
      const store = await storeWithHistory()
      const commands = [
        'show',
        'stats',
        'doctor',
        'snapshots',
        'verify',
        'diff current~1',
        'show 99',
        'repair --dry-run',
      ]
      const run = commands.map((command) => `holdfast ${command} -s ${store} 2>&1`).join('; ')
      const { screen } = await inTerminal(run, { columns })
      // Joined again, the lines are those of a pipe: nothing is cut, and no word is broken but those that are wider
      // than a line.
      const text = screen.join(' ').replaceAll(/\s+/g, ' ')
      expect(text).toContain('locks exclude other processes of this machine, and end with their process')
      expect(text).toContain('(SNAPSHOT_NOT_FOUND) Nothing was changed.')
      expect(text).toContain('creating a file that exists is refused (O_EXCL)')
      if (columns === 120) {
        expect(screen).toContain('  ok   exclusive-create: creating a file that exists is refused (O_EXCL)')
        return
      }
      const at = screen.indexOf('  ok   exclusive-create: creating a file')
      expect(screen[at + 1]).toBe('       that exists is refused (O_EXCL)')
      // The command to be typed next is in one piece, so that it can be copied.
      const next = screen.findIndex((line) => line.startsWith('Next:'))
      expect((screen[next]! + screen[next + 1]! + (screen[next + 2] ?? '')).replaceAll(' ', '')).toContain(
        `holdfastsnapshots--store${store}`,
      )
    },
  )

  test.each([{ NO_COLOR: '1' }, { TERM: 'dumb' }])('without colors where %o says so', async (env) => {
    const store = await storeWithHistory()
    const { raw } = await inTerminal(`holdfast snapshots -s ${store}; holdfast show nope -s ${store}`, { env })
    expect(raw).toContain('current')
    expect(raw).toContain('SNAPSHOT_NOT_FOUND')
    expect(raw).not.toContain(`${ESCAPE}[`)
  })

  test('the bytes of a blob cannot drive it', async () => {
    const store = join(scratch(), 'store')
    await persistSnapshot(store, { blobs: { a: `${ESCAPE}[2Jred\tx\nnext \u202e` } })
    const { raw, screen } = await inTerminal(`holdfast cat a -s ${store}`)
    expect(raw).not.toContain(ESCAPE)
    expect(screen[0]).toMatch(/^\\x1b\[2Jred +x$/)
    expect(screen[1]).toBe('next \\u{202e}')
    // Into a pipe they go as they are.
    expect((await holdfast(['cat', 'a', '-s', store])).stdout).toBe(`${ESCAPE}[2Jred\tx\nnext \u202e`)
  })

  test('progress appears after half a second, with what was read, and is gone in the end', async () => {
    const store = join(scratch(), 'store')
    const slow = '(sleep 3; head -c 6000000 /dev/urandom; sleep 1; head -c 6000000 /dev/urandom; sleep 1)'
    const { exit, raw, screen } = await inTerminal(`${slow} | holdfast persist --init big=- -s ${store}`)
    expect(exit).toBe(0)
    expect(raw).toMatch(/persist: \d+ m?s/)
    expect(raw).toMatch(/reading big: \d\.\d MiB, \d+(\.\d)? [KM]iB\/s/)
    expect(screen).toHaveLength(1)
    expect(screen[0]).toMatch(/^snapshot 1: 1 blob, 11\.4 MiB/)
  })

  test.each(['--quiet', '--json', '2>&1 | cat'])('there is no progress with %s', async (how) => {
    const store = join(scratch(), 'store')
    const slow = '(head -c 6000000 /dev/urandom; sleep 1.5; echo)'
    const { raw } = await inTerminal(`${slow} | holdfast persist --init big=- -s ${store} ${how}`)
    expect(existsSync(join(store, 'HEAD.json'))).toBe(true)
    expect(raw).not.toMatch(/reading|persist: /)
  })

  test('Ctrl-C leaves the store as it was, and says so', async () => {
    const store = await storeWithHistory()
    const head = readFileSync(join(store, 'HEAD.json'))
    let typed = false
    const { exit, screen } = await inTerminal(
      `(head -c 6000000 /dev/urandom; trap '' INT; sleep 5) | holdfast persist big=- -s ${store}`,
      {
        onData(raw, type) {
          if (typed || !raw.includes('reading big')) return
          typed = true
          type('\u0003')
        },
      },
    )
    expect(exit).toBe(130)
    expect(screen.join('\n')).toContain('holdfast: stopped by SIGINT\nThe store is as it was.')
    expect(readFileSync(join(store, 'HEAD.json'))).toEqual(head)
  })

  test('an error says what happened, what is safe, and what to type next', async () => {
    const store = await storeWithHistory()
    const { exit, screen } = await inTerminal(`holdfast rollback v9 -s ${store}`)
    expect(exit).toBe(15)
    expect(screen.at(-2)).toBe('Nothing was changed.')
    expect(screen.at(-1)).toBe(`Next: holdfast snapshots --store ${store}`)
  })
})
