// What lies outside a store stays as it is, whatever in the store is a link that leads out; and a file that is a hole
// costs nothing. On a real file system, because the disk in memory has no links.

import {
  closeSync,
  cpSync,
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import { openStore } from '../../src/open.ts'
import type { Store } from '../../src/store.ts'
import { cpuTimer } from '../support/cpu-time.ts'
import { makeScratch } from '../support/scratch.ts'
import { tree } from '../support/tree.ts'
import { persistAt } from './fuzz/base-stores.ts'
import { peakOf } from './fuzz/peak.ts'

let root = ''
let sound = ''
let packName = ''

beforeAll(async () => {
  root = makeScratch()
  sound = join(root, 'sound')
  await using store = await openStore(sound, { onWarning: () => undefined })
  await store.persist(persistAt(1, 1))
  await store.persist(persistAt(1, 2))
  await using snapshot = await store.load()
  await snapshot!.blob('many').file()
  packName = readdirSync(join(sound, 'packs'))[0]!
})

afterAll(() => rmSync(root, { recursive: true, force: true }))

const operations: Readonly<Record<string, (store: Store) => Promise<unknown>>> = {
  load: (store) => readAll(store),
  verify: (store) => store.verify(),
  tag: (store) => store.tag('seen'),
  'a persist of the same': (store) => store.persist(persistAt(1, 2)),
  persist: (store) => store.persist({ ...persistAt(1, 3), keepLast: 1 }),
  materialize: (store) => store.materialize(),
  repair: (store) => store.repair(),
}

async function readAll(store: Store): Promise<void> {
  await using snapshot = await store.load({ fallback: true })
  for (const name of snapshot?.names ?? []) await snapshot!.blob(name).file()
}

/** Does it all, one store object for each; every failure is typed. */
async function doAll(path: string): Promise<void> {
  for (const [name, operate] of Object.entries(operations)) {
    await using store = await openStore(path, { onWarning: () => undefined, lockWaitMs: 100 })
    await operate(store).catch((error: unknown) => {
      if (!isHoldfastError(error)) throw new Error(`${name}: an untyped error`, { cause: error })
    })
  }
}

const links = [
  'quarantine',
  'files',
  'files/.tmp',
  'tmp',
  'packs',
  'PACK',
  'HEAD.json',
  'HEAD.prev.json',
  'STORE.json',
  'writer.lock',
]

test.each(
  links.flatMap((link): [string, boolean][] => [
    [link, false],
    [link, true],
  ]),
)('nothing is written where %s leads to; with damage: %s', async (link, damaged) => {
  const place = mkdtempSync(join(root, 'linked-'))
  const path = join(place, 'store')
  cpSync(sound, path, { recursive: true })
  const at = join(path, link === 'PACK' ? join('packs', packName) : link)
  const target = join(place, 'outside')
  if (existsSync(at)) renameSync(at, target)
  else mkdirSync(target)
  symlinkSync(target, at)
  if (damaged) for (const name of ['HEAD.prev.json', 'STORE.json']) spoil(join(path, name))
  const before = tree(target)
  await doAll(path)
  expect(tree(target)).toEqual(before)
})

test('a persist moves a pack that is not of the store nowhere when quarantine/ is a link', async () => {
  const place = mkdtempSync(join(root, 'linked-'))
  const [path, foreign, target] = [join(place, 'store'), join(place, 'foreign'), join(place, 'outside')]
  cpSync(sound, path, { recursive: true })
  {
    await using store = await openStore(foreign)
    await store.persist({ blobs: { foreign: 'of another store' } })
  }
  for (const name of readdirSync(join(foreign, 'packs')))
    cpSync(join(foreign, 'packs', name), join(path, 'packs', name))
  mkdirSync(target)
  rmSync(join(path, 'quarantine'), { recursive: true, force: true })
  symlinkSync(target, join(path, 'quarantine'))
  const warnings: string[] = []
  await using store = await openStore(path, { onWarning: ({ code }) => void warnings.push(code) })
  await store.persist({ blobs: { more: 'more' } })
  expect(warnings).toContain('SWEEP_FAILED')
  expect(readdirSync(target)).toEqual([])
})

test.each(['files', 'files/.tmp'])(
  'a link at %s is no damage, for which an older snapshot would be taken',
  async (link) => {
    const place = mkdtempSync(join(root, 'linked-'))
    const path = join(place, 'store')
    cpSync(sound, path, { recursive: true })
    const target = join(place, 'outside')
    mkdirSync(target)
    rmSync(join(path, link), { recursive: true, force: true })
    symlinkSync(target, join(path, link))
    await using store = await openStore(path, { onWarning: () => undefined })
    let tried = 0
    const restoring = store.restore(
      async (snapshot) => {
        tried += 1
        return await snapshot.blob('many').file()
      },
      { fallback: true },
    )
    await expect(restoring).rejects.toMatchObject({
      code: 'IO_FAILED',
      details: { code: 'ELOOP', path: join(path, link) },
    })
    expect(tried).toBe(1)
  },
)

/** Spoils a file of the store, and nothing that a link leads to. */
function spoil(path: string): void {
  rmSync(path)
  writeFileSync(path, 'spoilt')
}

test.each(['HEAD.json', 'HEAD.prev.json', 'STORE.json', 'PACK'])(
  'a hole of 1 GiB in the place of %s is refused in little time and memory',
  async (name) => {
    const path = join(mkdtempSync(join(root, 'hole-')), 'store')
    cpSync(sound, path, { recursive: true })
    const file = openSync(join(path, name === 'PACK' ? join('packs', packName) : name), 'r+')
    ftruncateSync(file, 2 ** 30)
    closeSync(file)
    const cpuMs = cpuTimer()
    for (const name of ['load', 'verify', 'persist', 'repair']) {
      const peak = await peakOf(async () => {
        await using store = await openStore(path, { onWarning: () => undefined })
        await operations[name]!(store).catch((error: unknown) => {
          if (!isHoldfastError(error)) throw error
        })
      })
      expect(peak ?? 0, name).toBeLessThan(64 * 2 ** 20)
    }
    expect(cpuMs()).toBeLessThan(5_000)
  },
)
