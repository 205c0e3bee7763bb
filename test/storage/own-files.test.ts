// A store touches only what it made: it is made where there is nothing else, and what it takes away is its own.

import { execFileSync } from 'node:child_process'
import {
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { destroyStore, loadSnapshot, openStore, persistSnapshot, setAside } from '../../src/index.ts'
import { scratch } from '../support/scratch.ts'

const HEX = 'ab'.repeat(12)

function put(root: string, name: string, text = `mine: ${name}`): void {
  mkdirSync(dirname(join(root, name)), { recursive: true })
  writeFileSync(join(root, name), text)
  utimesSync(join(root, name), 1, 1)
}

function filesIn(root: string): string[] {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' })
  return names.filter((name) => !lstatSync(join(root, name)).isDirectory()).sort()
}

async function textIn(path: string): Promise<string | null> {
  const snapshot = await loadSnapshot(path)
  try {
    return snapshot === null ? null : await snapshot.blob('a').text()
  } finally {
    await snapshot?.dispose()
  }
}

async function makeStore(path: string): Promise<void> {
  for (const text of ['zero', 'one']) await persistSnapshot(path, { blobs: { a: text } })
}

describe('a first persist', () => {
  test.each([
    'README.md',
    '.env',
    '.git/config',
    'src/main.ts',
    'tmp/notes.txt',
    `tmp/${HEX}`,
    `tmp/${HEX}.txt`,
    `tmp/${HEX}.d/x`,
    `tmp/${HEX}.holdfast-tmp.txt`,
    'tmp/conf.d/x',
    'packs/textures.pack',
    `packs/${'ab'.repeat(32)}.pack`,
    'files/upload.pdf',
    'quarantine/notes.txt',
    'writer.lock',
    'HEAD.json',
    'HEAD.prev.json',
  ])('is refused beside %s, and changes nothing', async (name) => {
    const path = scratch()
    put(path, name)
    const found = await persistSnapshot(path, { blobs: { a: 'x' } }).catch((error) => error)
    expect(found.code).toMatch(/NOT_A_STORE|_DAMAGED/)
    expect(filesIn(path)).toEqual([name])
    expect(readFileSync(join(path, name), 'utf8')).toBe(`mine: ${name}`)
  })

  test('says what was found', async () => {
    const path = scratch()
    put(path, 'package.json')
    const details = { path, found: ['package.json'] }
    await expect(persistSnapshot(path, { blobs: {} })).rejects.toMatchObject({ code: 'NOT_A_STORE', details })
  })

  test.each(['lost+found/x', '.DS_Store', '.Trash-1000/x', '.gitkeep', '.fseventsd/x'])(
    'is done beside %s',
    async (name) => {
      const path = scratch()
      put(path, name)
      await makeStore(path)
      expect(await textIn(path)).toBe('one')
      expect(await destroyStore(path)).toBe(true)
      expect(filesIn(path)).toEqual([name])
    },
  )

  test('is done in what another one left that was killed', async () => {
    const path = scratch()
    for (const name of ['writer.lock', `tmp/${HEX}.holdfast-tmp`, `tmp/${HEX}.holdfast-tmp.d/saved`])
      put(path, name, '')
    mkdirSync(join(path, 'packs'))
    await makeStore(path)
    expect(await textIn(path)).toBe('one')
  })
})

const FOREIGN = [
  'notes.txt',
  'tmp/notes.txt',
  'tmp/conf.d/x',
  // As caches and uploads are named.
  `tmp/${HEX}`,
  `tmp/${HEX}.d/x`,
  'packs/README',
  'files/upload.pdf',
  'quarantine/q.txt',
]

describe('files that came into a store', () => {
  test('are not cleaned up', async () => {
    const path = join(scratch(), 'store')
    await makeStore(path)
    const store = await openStore(path)
    for (const name of FOREIGN) put(path, name)
    for (let i = 0; i < 4; i++) await store.persist({ blobs: { a: `${i}` }, keepLast: 1 })
    await store.materialize()
    await store.persist({ blobs: { a: 'last' }, keepLast: 1 })
    await store.close()
    for (const name of FOREIGN) expect(readFileSync(join(path, name), 'utf8')).toBe(`mine: ${name}`)
  })

  test.each(FOREIGN)('stay when it is destroyed or set aside: %s', async (name) => {
    for (const take of ['destroy', 'aside']) {
      const path = join(scratch(), 'store')
      await makeStore(path)
      const store = await openStore(path)
      await store.materialize()
      await store.close()
      put(path, name)
      if (take === 'destroy') {
        expect(await destroyStore(path)).toBe(true)
        expect(filesIn(path)).toEqual([name])
        expect(await destroyStore(path).catch((error) => error.code)).toBe('NOT_A_STORE')
      } else {
        expect(await textIn((await setAside(path, { reason: 'x' }))!)).toBe('one')
        expect(readFileSync(join(path, name), 'utf8')).toBe(`mine: ${name}`)
        expect(filesIn(path).filter((file) => /^(HEAD|STORE|packs.*pack$)/.test(file))).toEqual([])
      }
      expect(await loadSnapshot(path)).toBe(null)
    }
  })

  test('under a retired pack’s name go to quarantine, and are not deleted', async () => {
    const path = join(scratch(), 'store')
    await using store = await openStore(path, { keepLast: 1, onWarning: () => undefined })
    for (const a of ['one', 'two']) await store.persist({ blobs: { a } })
    const { retired } = JSON.parse(readFileSync(join(path, 'HEAD.json'), 'utf8')) as { retired: { name: string }[] }
    writeFileSync(join(path, 'packs', `${retired[0]!.name}.pack`), 'mine')
    for (const a of ['three', 'four']) await store.persist({ blobs: { a } })
    const aside = filesIn(join(path, 'quarantine')).filter((file) => !file.endsWith('.json'))
    expect(aside.map((file) => readFileSync(join(path, 'quarantine', file), 'utf8'))).toEqual(['mine'])
  })

  test('under a pack’s name go to quarantine when it is destroyed', async () => {
    const path = join(scratch(), 'store')
    await makeStore(path)
    put(path, `packs/${'ab'.repeat(32)}.pack`)
    expect(await destroyStore(path)).toBe(true)
    const left = filesIn(path)
    expect(left).toHaveLength(2)
    expect(readFileSync(join(path, left[0]!), 'utf8')).toContain('mine')
    await makeStore(path)
  })
})

describe('a store behind a link', () => {
  async function linked(): Promise<{ link: string; real: string }> {
    const root = scratch()
    const [link, real] = [join(root, 'link'), join(root, 'disk', 'store')]
    mkdirSync(real, { recursive: true })
    symlinkSync(join('disk', 'store'), link)
    await makeStore(link)
    return { link, real }
  }

  test('is destroyed itself', async () => {
    const { link, real } = await linked()
    expect(await destroyStore(link)).toBe(true)
    expect(readdirSync(real)).toEqual([])
    expect(await loadSnapshot(link)).toBe(null)
    await makeStore(link)
    expect(await textIn(real)).toBe('one')
  })

  test('is set aside itself, and the next one lies where the link leads', async () => {
    const { link, real } = await linked()
    for (let i = 0; i < 2; i++) {
      const to = (await setAside(link, { reason: 'x' }))!
      expect(await loadSnapshot(link)).toBe(null)
      await makeStore(link)
      expect(await textIn(to)).toBe('one')
      expect(JSON.parse(readFileSync(`${to}.json`, 'utf8'))).toMatchObject({ original: real, reason: 'x' })
    }
    expect(realpathSync(link)).toBe(realpathSync(real))
    expect(await textIn(real)).toBe('one')
  })

  test.each(['itself', 'above'])('that leads nowhere is not "no store yet": the link is %s', async (where) => {
    const root = scratch()
    symlinkSync(join(root, 'not-mounted'), join(root, 'link'))
    const path = where === 'itself' ? join(root, 'link') : join(root, 'link', 'data', 'store')
    const refused = { code: 'IO_FAILED' }
    await expect(loadSnapshot(path)).rejects.toMatchObject(refused)
    await expect(persistSnapshot(path, { blobs: {} })).rejects.toMatchObject(refused)
    if (where === 'itself') await expect(destroyStore(path)).rejects.toMatchObject(refused)
    expect(existsSync(join(root, 'not-mounted'))).toBe(false)
  })
})

describe('what is written out', () => {
  test('follows a link, and never replaces a link, a pipe or a device', async () => {
    const root = scratch()
    await makeStore(join(root, 'store'))
    await using snapshot = (await loadSnapshot(join(root, 'store')))!
    writeFileSync(join(root, 'real'), 'old')
    symlinkSync('real', join(root, 'link'))
    await snapshot.blob('a').writeTo(join(root, 'link'))
    expect(readFileSync(join(root, 'real'), 'utf8')).toBe('one')
    expect(lstatSync(join(root, 'link')).isSymbolicLink()).toBe(true)
    symlinkSync('nowhere', join(root, 'dangling'))
    symlinkSync('store', join(root, 'folder'))
    execFileSync('mkfifo', [join(root, 'pipe')])
    for (const name of ['dangling', 'folder', 'pipe', 'store']) {
      const before = lstatSync(join(root, name)).ino
      await expect(snapshot.blob('a').writeTo(join(root, name))).rejects.toMatchObject({ code: 'IO_FAILED' })
      expect(lstatSync(join(root, name)).ino).toBe(before)
    }
  })
})

describe.runIf(process.platform !== 'win32')('in the place of a file that the store reads', () => {
  test.each(['STORE.json', 'HEAD.json'])('%s: a pipe is said to be one, and a repair leaves it alone', async (name) => {
    const root = scratch()
    const store = join(root, 'store')
    await persistSnapshot(store, { blobs: { a: Buffer.from('one') } })
    rmSync(join(store, name))
    execFileSync('mkfifo', [join(store, name)])
    const opened = await openStore(store)
    const expected = {
      code: 'IO_FAILED',
      message: expect.stringMatching(/a pipe, a socket or a device.*: move it away/),
    }
    await expect(opened.load()).rejects.toMatchObject(expected)
    await expect(opened.persist({ blobs: { a: Buffer.from('two') } })).rejects.toMatchObject(expected)
    await expect(opened.repair()).rejects.toMatchObject(expected)
    expect(lstatSync(join(store, name)).isFIFO()).toBe(true)
    await opened.close()
  })
})

/** Mounts a file system of its own at `path`; false where that is not possible. */
function mounted(path: string): boolean {
  mkdirSync(path, { recursive: true })
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'holdfast-test', path], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

const canMount = (() => {
  if (process.platform !== 'linux' || process.getuid?.() !== 0) return false
  const path = mkdtempSync(join(tmpdir(), 'holdfast-mount-'))
  const possible = mounted(path)
  if (possible) execFileSync('umount', [path])
  rmSync(path, { recursive: true })
  return possible
})()

describe.skipIf(!canMount)('on a mount point', () => {
  async function onMount(work: (path: string) => Promise<void>): Promise<void> {
    const path = join(scratch(), 'volume')
    mounted(path)
    try {
      await work(path)
      expect(readdirSync(dirname(path)).filter((name) => name.startsWith('volume'))).toEqual(['volume'])
    } finally {
      execFileSync('umount', ['-l', path])
    }
  }

  test('a store is destroyed', async () => {
    await onMount(async (path) => {
      await makeStore(path)
      expect(await destroyStore(path)).toBe(true)
      expect(readdirSync(path)).toEqual([])
      await makeStore(path)
      expect(await textIn(path)).toBe('one')
    })
  })

  test('a store is set aside, a damaged one too', async () => {
    await onMount(async (path) => {
      await makeStore(path)
      rmSync(join(path, 'HEAD.json'))
      const packs = readdirSync(join(path, 'packs')).length
      const to = (await setAside(path, { reason: 'head-missing' }))!
      expect(readdirSync(join(to, 'packs'))).toHaveLength(packs)
      await makeStore(path)
      expect(await textIn(path)).toBe('one')
    })
  })

  test.each(['packs', 'quarantine', 'tmp'])(
    'a store whose %s is a mount loses nothing, and errors name the next step',
    async (name) => {
      const path = join(scratch(), 'store')
      await makeStore(path)
      renameSync(join(path, 'packs'), join(path, '..', 'kept'))
      mkdirSync(join(path, 'packs'))
      mounted(join(path, name))
      try {
        cpSync(join(path, '..', 'kept'), join(path, 'packs'), { recursive: true })
        const before = filesIn(path)
        const failed = await setAside(path, { reason: 'x' }).catch((error) => error)
        // What lies on a mount of its own need not be moved from there.
        if (name === 'tmp') expect(await textIn(failed)).toBe('one')
        else {
          expect(failed).toMatchObject({
            code: 'IO_FAILED',
            message: expect.stringContaining('copy what is in it into a plain'),
          })
          expect(filesIn(path)).toEqual(before)
          expect(await textIn(path)).toBe('one')
          expect(await destroyStore(path)).toBe(true)
          expect(filesIn(path)).toEqual([])
        }
      } finally {
        execFileSync('umount', ['-l', join(path, name)])
      }
    },
  )

  test('an unmounted volume is not an empty store', async () => {
    const path = join(scratch(), 'volume')
    mounted(path)
    try {
      await using store = await openStore(path)
      await store.persist({ blobs: { a: 'x' } })
      execFileSync('umount', ['-l', path])
      await expect(store.persist({ blobs: { a: 'y' } })).rejects.toMatchObject({ code: 'HEAD_MISSING' })
      expect(readdirSync(path)).toEqual([])
    } finally {
      if (statSync(path).dev !== statSync(dirname(path)).dev) execFileSync('umount', ['-l', path])
    }
  })

  test('a damaged file in filesDir is laid out anew, and nothing is written beside it', async () => {
    await onMount(async (path) => {
      const root = scratch()
      const store = await openStore(join(root, 'store'), { filesDir: path })
      await store.persist({ blobs: { a: 'the bytes' } })
      const first = (await store.load())!
      const at = await first.blob('a').file()
      await first.dispose()
      rmSync(at)
      writeFileSync(at, 'x')
      const second = (await store.load())!
      expect(readFileSync(await second.blob('a').file(), 'utf8')).toBe('the bytes')
      await second.dispose()
      await store.close()
      expect(readdirSync(root)).toEqual(['store'])
    })
  })
})
