// Each method of a store has a verb.

import { spawnSync } from 'node:child_process'
import { closeSync, existsSync, openSync, readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { join } from 'node:path'
import { Command } from 'commander'
import { expect, test } from 'vitest'
import { EXPORT_OPTIONS } from '../../src/car/export.ts'
import { IMPORT_OPTIONS } from '../../src/car/import.ts'
import { VERBS } from '../../src/cli/verbs.ts'
import { HISTORY_OPTIONS } from '../../src/history/history.ts'
import { memory, openStore } from '../../src/index.ts'
import { PERSIST_OPTIONS } from '../../src/persist/options.ts'
import { REPAIR_OPTIONS } from '../../src/recovery/repair-plan.ts'
import { SCRUB_OPTIONS } from '../../src/recovery/scrub.ts'
import { VERIFY_OPTIONS } from '../../src/recovery/verify.ts'
import { REPORT_OPTIONS } from '../../src/report/options.ts'
import { COPY_OPTIONS } from '../../src/space/copy.ts'
import { DIFF_OPTIONS } from '../../src/space/diff.ts'
import { FORGET_OPTIONS } from '../../src/space/forget.ts'
import { GC_OPTIONS } from '../../src/space/gc-options.ts'
import { scratch } from '../support/scratch.ts'
import { BINARY, done, holdfast } from './holdfast.ts'

/** Methods without a verb of their name, and why. */
const EXCUSED: Record<string, string> = {
  load: 'show, cat and restore are what one does with a snapshot on a command line',
  openJournal: 'entries are a program’s; persist --covers opens the journal',
  close: 'each command closes its store',
}

const names = VERBS.map(({ usage }) => usage.split(' ')[0]!)

test('every method of Store has a verb, or a reason to have none', async () => {
  await using store = memory()
  // `quarantine` is an object of methods.
  const methods = Object.keys(store).filter((name) => typeof store[name as keyof typeof store] !== 'string')
  const actions = VERBS.find(({ usage }) => usage.startsWith('quarantine '))!.description
  for (const action of Object.keys(store.quarantine)) expect(actions).toContain(action)
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
    expect((await done([name!, '--help'])).stdout, name).not.toMatch(/\$ holdfast .*\| holdfast (persist|import)/)
  }
  const help = await done(['help', 'rollback'])
  expect(help.stdout).toContain('$ holdfast rollback current~1')
  expect((await done(['rollback', '--help'])).stdout).toBe(help.stdout)
})

test.each([
  [['help', 'nosuch'], /there is no verb "nosuch"/],
  [['report', '--store', '/nowhere', '-o', '-'], /written into a file/],
  [['scrub', '--max-time', '0s', '--store', '/nowhere'], /--max-time and --max-bytes are more than 0/],
  [['restore', '--store', '/nowhere', '-o', '-'], /written into a directory: .*; cat writes one blob/],
  [['quarantine', 'extract', 'x', '--store', '/nowhere', '-o', '-'], /copied into a file/],
  [['persist', 'a=package.json', '--metadata', '{', '--store', '/nowhere'], /--metadata is not DAG-JSON: Expected/],
  [['copy', '', '-s', 'store'], /an argument is empty: is a variable not set/],
  [['restore', '-o', '', '-s', 'store'], /--output is empty: is a variable not set/],
])('%j is a usage error', async (args, message) => {
  const ran = await holdfast(args)
  expect(ran.stderr).toMatch(message)
  expect(ran.exit).toBe(2)
})

test('an argument that the library refuses is a usage error, and no mistake of the program', async () => {
  const path = join(scratch(), 'store')
  await using store = await openStore(path)
  await store.persist({ blobs: { text: 'one' } })
  const ran = await holdfast(['scrub', '--store', path, '--cursor', 'garbage'])
  expect(ran.stderr).toMatch(/this is not a cursor of a slice before: "garbage"/)
  expect(ran.exit).toBe(2)
})

test('import of a directory, and into a store that is not there, says what to type', async () => {
  const directory = scratch()
  const path = join(directory, 'store')
  await done(['persist', 'a=package.json', '--init', '--store', path])
  const ofDirectory = await holdfast(['import', directory, '--store', path])
  expect(ofDirectory).toMatchObject({
    exit: 15,
    stderr: expect.stringMatching(/is a directory, and a CAR file is wanted/),
  })
  const intoNothing = await holdfast(['import', 'package.json', '--store', join(directory, 'none')])
  expect(intoNothing.stderr).toMatch(/Next: holdfast import --init <file> --store/)
})

test.each([
  ['persist', 'z=-', '--allow-empty'],
  ['import', '-'],
])('%s takes no directory as standard input', (...args) => {
  const store = join(scratch(), 'store')
  const input = openSync(scratch(), 'r')
  try {
    const ran = spawnSync(process.execPath, [BINARY, ...args, '--init', '--store', store], {
      stdio: [input, 'pipe', 'pipe'],
      encoding: 'utf8',
    })
    expect(ran.stderr).toMatch(/standard input is a directory: redirect a file/)
    expect(ran.status).toBe(15)
    expect(existsSync(store)).toBe(false)
  } finally {
    closeSync(input)
  }
})

/** Options that every verb handles in the same way: Ctrl-C, the line of progress, --lock-wait. */
const COMMON = ['signal', 'onProgress', 'lockWaitMs']

/** Of each method, its options and which flag stands for one of another name; null: what has none, and why. */
const METHODS: Record<string, { table: object; flags: Record<string, string | null> }> = {
  persist: {
    table: PERSIST_OPTIONS,
    flags: {
      blobs: 'arguments',
      keep: 'keepDaily',
      // A function of the program that owns the source.
      sourceVersion: null,
      sameBlobs: null,
    },
  },
  forget: { table: FORGET_OPTIONS, flags: {} },
  export: { table: EXPORT_OPTIONS, flags: {} },
  import: { table: IMPORT_OPTIONS, flags: { keep: 'keepDaily' } },
  copy: { table: COPY_OPTIONS, flags: {} },
  diff: { table: DIFF_OPTIONS, flags: {} },
  // The grace time is for object stores, and the program opens directories.
  gc: { table: GC_OPTIONS, flags: { budgetMs: 'budgetTime', graceMs: null } },
  rollback: { table: HISTORY_OPTIONS, flags: {} },
  tag: { table: HISTORY_OPTIONS, flags: {} },
  verify: { table: VERIFY_OPTIONS, flags: { level: 'quick' } },
  report: { table: REPORT_OPTIONS, flags: {} },
  scrub: { table: SCRUB_OPTIONS, flags: { maxMs: 'maxTime' } },
  repair: { table: REPAIR_OPTIONS, flags: { mayDrop: 'dropIncomplete' } },
}

test.each(Object.entries(METHODS))(
  'every option of %s has a flag, or a reason to have none',
  (name, { table, flags }) => {
    const verb = VERBS.find(({ usage }) => usage.split(' ')[0] === name)!
    const command = new Command(name)
    verb.options?.(command)
    const known = ['arguments', ...command.options.map((option) => option.attributeName())]
    const missing = Object.keys(table)
      .filter((option) => !COMMON.includes(option) && flags[option] !== null)
      .filter((option) => !known.includes(flags[option] ?? option))
    expect(missing).toEqual([])
  },
)

test('the published schema has a document for every verb but cat, which writes bytes', () => {
  const require = createRequire(import.meta.url)
  const schema = JSON.parse(readFileSync(require.resolve('holdfast/command-line.schema.json'), 'utf8')) as {
    $defs: Record<string, { properties?: { command?: { const?: string; enum?: string[] } } }>
  }
  const commands = Object.values(schema.$defs).flatMap(({ properties }) => {
    const { const: one, enum: several = [] } = properties?.command ?? {}
    return one === undefined ? several : [one]
  })
  expect([...new Set(commands)].sort()).toEqual(names.filter((name) => name !== 'cat').sort())
})
