// The commands of docs/operations.md, all of them, in their order, on stores of the kind that their sections are about.

import { spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { expect, test } from 'vitest'
import { openStore, persistSnapshot } from '../../src/index.ts'
import { BINARY } from '../cli/holdfast.ts'
import { noise } from '../support/bytes.ts'
import { scratch } from '../support/scratch.ts'

const page = readFileSync(new URL('../../docs/operations.md', import.meta.url), 'utf8')

/** The commands of each section. */
function commandsOf(text: string): Map<string, string[]> {
  const sections = new Map<string, string[]>()
  for (const part of text.split(/^(?=###? )/m)) {
    const title = /^###? (.*)/.exec(part)?.[1] ?? 'Operations'
    const blocks = [...part.matchAll(/^```sh\n(.*?)^```$/gms)].map(([, block]) => block!)
    const commands = blocks.flatMap((block) => block.trim().split('\n'))
    if (commands.length > 0) sections.set(title, commands)
  }
  return sections
}

interface Scene {
  prepare?(place: Place): Promise<void> | void
  /** Of commands that do not end with 0. The first of that text. */
  exits?: Record<string, number>
  /** What is there in the end: sequences of the snapshots, newest first; default: what was there. */
  snapshots?: number[]
}

interface Place {
  store: string
  backup: string
}

const packsOf = (store: string): string[] => readdirSync(join(store, 'packs')).map((name) => join(store, 'packs', name))

async function backUp({ store, backup }: Place): Promise<void> {
  await using opened = await openStore(store)
  await opened.copy(backup)
}

/** A pack is missing, and another is rotten. */
async function damage(place: Place): Promise<void> {
  await backUp(place)
  const [first, second] = packsOf(place.store)
  rmSync(first!)
  const bytes = readFileSync(second!)
  bytes[200]! ^= 1
  writeFileSync(second!, bytes)
}

const scenes: Record<string, Scene> = {
  Operations: {},
  '1. What is wrong': {},
  '2. The last save was a mistake': { snapshots: [5, 4, 3, 2, 1] },
  '3. Something is damaged': {
    prepare: damage,
    exits: { 'holdfast verify': 10, 'holdfast report -o report.html --verify quick': 10 },
  },
  '4. Nothing can be written': {},
  'Every day': {},
  'Back-ups': { prepare: backUp },
  'Restore a back-up': { prepare: backUp },
  'Move a store': {},
  'Full disks': { snapshots: [4, 3, 2] },
  'Containers and volumes': {},
}

test('every section with commands has a scene', () => {
  expect([...commandsOf(page).keys()].sort()).toEqual(Object.keys(scenes).sort())
})

test.skipIf(process.platform === 'win32').each([...commandsOf(page)])('%s', async (title, commands) => {
  const root = scratch()
  const place = { store: join(root, 'var/lib/app/search'), backup: join(root, 'mnt/backup/search') }
  mkdirSync(join(root, 'mnt/backup'), { recursive: true })
  mkdirSync(join(root, 'mnt/new'))
  for (let i = 0; i < 4; i++) {
    const blobs = { index: noise(60_000, i), 'notes.txt': `notes ${i}` }
    await persistSnapshot(place.store, { blobs, keepLast: 20 })
  }
  const { prepare, exits = {}, snapshots = [4, 3, 2, 1] } = scenes[title]!
  await prepare?.(place)
  const bin = join(root, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'holdfast'), `#!/bin/sh\nexec "${process.execPath}" "${BINARY}" "$@"\n`)
  chmodSync(join(bin, 'holdfast'), 0o755)
  const env = {
    ...process.env,
    PATH: `${bin}${delimiter}${process.env.PATH}`,
    HOLDFAST_STORE: place.store,
  }
  const left = { ...exits }
  for (const command of commands) {
    // The paths of the page, below the scratch directory.
    const script = command.replaceAll(/(?<=^|[\s=])\/(var|mnt|tmp)\//g, `${root}/$1/`)
    const { status, stdout, stderr } = spawnSync('sh', ['-c', script], { cwd: root, env, encoding: 'utf8' })
    expect(status, `${command}\n${stdout}${stderr}`).toBe(left[command] ?? 0)
    delete left[command]
  }
  expect(left).toEqual({})
  await using store = await openStore(place.store)
  expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual(snapshots)
})

test('every error code is in the table for operators, with a link to its own section', () => {
  const source = readFileSync(new URL('../../src/errors.ts', import.meta.url), 'utf8')
  const codes = [...source.matchAll(/^ {2}([A-Z_]+): '\w+',$/gm)].map(([, code]) => code!)
  expect(codes.length).toBeGreaterThan(30)
  for (const code of codes) expect(page, code).toContain(`[\`${code}\`](errors.md#${code.toLowerCase()})`)
})
