// Each method of a store has a verb.

import { expect, test } from 'vitest'
import { VERBS } from '../../src/cli/verbs.ts'
import { memory } from '../../src/index.ts'
import { done } from './holdfast.ts'

/** Methods without a verb of their name, and why. */
const EXCUSED: Record<string, string> = {
  load: 'show, cat and restore are what one does with a snapshot on a command line',
  openJournal: 'entries are a program’s; persist --covers opens the journal',
  close: 'each command closes its store',
}

const names = VERBS.map(({ usage }) => usage.split(' ')[0]!)

test('every method of Store has a verb, or a reason to have none', async () => {
  await using store = memory()
  const methods = Object.keys(store).filter((name) => typeof store[name as keyof typeof store] === 'function')
  expect(methods.length).toBeGreaterThan(10)
  expect(methods.filter((name) => !names.includes(name)).sort()).toEqual(Object.keys(EXCUSED).sort())
})

test('every verb is in the help, and has its own help with examples', async () => {
  const { stdout } = await done(['--help'])
  for (const name of names) expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'))
  for (const { usage, summary, examples } of VERBS) {
    const [name] = usage.split(' ')
    expect(summary, name).not.toBe('')
    expect(examples.length, name).toBeGreaterThan(0)
    for (const example of examples) expect(example).toContain(name)
  }
  const help = await done(['help', 'rollback'])
  expect(help.stdout).toContain('$ holdfast rollback current~1')
  expect((await done(['rollback', '--help'])).stdout).toBe(help.stdout)
})
