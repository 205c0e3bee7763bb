import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { destroyStore, loadSnapshot, openStore, persistSnapshot, setAside, type Warning } from '../../src/index.ts'
import { collect, noise, sameBytes } from '../support/bytes.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { files, tree } from '../support/tree.ts'

const MIB = 1024 * 1024
const blobs = { a: noise(100_000, 1), b: 'text' }

async function makeStore(): Promise<string> {
  const path = join(scratch(), 'store')
  await persistSnapshot(path, { blobs })
  await persistSnapshot(path, { blobs: { ...blobs, c: 'more' } })
  return path
}

function modes(root: string): Record<string, string> {
  return Object.fromEntries(
    readdirSync(root, { recursive: true, encoding: 'utf8' })
      .map((path) => [path.replace(/[0-9a-f]{64}/, '#'), (statSync(join(root, path)).mode & 0o777).toString(8)])
      .sort(),
  )
}

describe('modes', () => {
  test('of a directory that we make let nobody else in', async () => {
    const path = await makeStore()
    expect((statSync(path).mode & 0o777).toString(8)).toBe('700')
    expect(modes(path)).toEqual({
      'HEAD.json': '600',
      'HEAD.prev.json': '600',
      'STORE.json': '600',
      packs: '700',
      'packs/#.pack': '600',
      tmp: '700',
      'writer.lock': '600',
    })
  })

  test('in a directory that is there follow it, whatever the umask', async () => {
    const path = join(scratch(), 'store')
    mkdirSync(path)
    const { chmodSync } = await import('node:fs')
    chmodSync(path, 0o755)
    const before = process.umask(0o077)
    try {
      await persistSnapshot(path, { blobs })
      const snapshot = (await loadSnapshot(path))!
      await snapshot.blob('a').file()
      await snapshot.dispose()
    } finally {
      process.umask(before)
    }
    const found = modes(path)
    expect(found).toMatchObject({
      'HEAD.json': '644',
      'STORE.json': '644',
      packs: '755',
      'packs/#.pack': '644',
      tmp: '755',
    })
  })

  test('of HEAD are kept when it is replaced', async () => {
    const path = await makeStore()
    const { chmodSync } = await import('node:fs')
    chmodSync(join(path, 'HEAD.json'), 0o640)
    await persistSnapshot(path, { blobs })
    expect((statSync(join(path, 'HEAD.json')).mode & 0o777).toString(8)).toBe('640')
  })
})

describe('opened read-only', () => {
  test('a store is read, and not a byte of it is touched', async () => {
    const path = await makeStore()
    const before = tree(path)
    const store = await openStore(path, { readOnly: true })
    const snapshot = (await store.load({ fallback: true }))!
    expect(sameBytes(await snapshot.blob('a').bytes(), blobs.a)).toBe(true)
    expect(await snapshot.blob('c').text()).toBe('more')
    await collect(snapshot.blob('a').stream())
    await snapshot.blob('a').writeTo(join(scratch(), 'x'))
    expect(await store.snapshots()).toHaveLength(2)
    const error = await rejects(snapshot.blob('a').file(), 'FILES_UNSUPPORTED')
    expect(error.kind).toBe('unsupported')
    await rejects(store.materialize(), 'FILES_UNSUPPORTED')
    for (const call of [
      () => store.persist({ blobs }),
      () => store.persist({ blobs: { ...blobs, c: 'more' } }),
      () => store.persist({ blobs: { a: (to) => writeFileSync(to, 'x') } }),
      () => store.tag('x'),
      () => store.untag('x'),
      () => store.rollback(1),
    ]) {
      const refused = await rejects(call(), 'READ_ONLY')
      expect(refused.kind).toBe('input')
    }
    await snapshot.dispose()
    await store.close()
    expect(tree(path)).toEqual(before)
  })

  test('what is not there is not made', async () => {
    const path = join(scratch(), 'store')
    const store = await openStore(path, { readOnly: true })
    expect(await store.load()).toBe(null)
    await rejects(store.load({ required: true }), 'NO_SNAPSHOT')
    await rejects(store.persist({ blobs }), 'READ_ONLY')
    await store.close()
    expect(existsSync(path)).toBe(false)
  })

  test('with a `filesDir`, files are laid out there and nowhere else', async () => {
    const path = await makeStore()
    const filesDir = join(scratch(), 'cache')
    const before = tree(path)
    const store = await openStore(path, { readOnly: true, filesDir })
    const snapshot = (await store.load())!
    const file = await snapshot.blob('a').file()
    expect(file).toBe(join(filesDir, snapshot.blob('a').cid))
    expect(sameBytes(readFileSync(file), blobs.a)).toBe(true)
    const { files: laidOut, sequence } = await store.materialize({ blobs: ['c'] })
    expect(sequence).toBe(2)
    expect(Object.keys(laidOut)).toEqual(['c'])
    await snapshot.dispose()
    await store.close()
    expect(tree(path)).toEqual(before)
  })

  test('files that were laid out when the image was built are given out as they are', async () => {
    const path = await makeStore()
    const builder = await openStore(path)
    const { files: laidOut } = await builder.materialize({ blobs: ['a'] })
    await builder.close()
    const before = tree(path)
    const store = await openStore(path, { readOnly: true })
    const snapshot = (await store.load())!
    expect(await snapshot.blob('a').file()).toBe(laidOut.a)
    await rejects(snapshot.blob('b').file(), 'FILES_UNSUPPORTED')
    await snapshot.dispose()
    await store.close()
    expect(tree(path)).toEqual(before)
  })
})

describe('laid-out files', () => {
  test('of all blobs, or some, of any snapshot', async () => {
    const path = await makeStore()
    const store = await openStore(path)
    const all = await store.materialize()
    expect(Object.keys(all.files).sort()).toEqual(['a', 'b', 'c'])
    expect(readFileSync(all.files.c!, 'utf8')).toBe('more')
    const first = await store.materialize({ at: 1 })
    expect(first.sequence).toBe(1)
    expect(first.files).toEqual({ a: all.files.a, b: all.files.b })
    await rejects(store.materialize({ blobs: ['nothing'] }), 'BLOB_NOT_FOUND')
    await rejects(store.materialize({ at: 9 }), 'SNAPSHOT_NOT_FOUND')
    await store.close()
  })

  test('in a directory of the caller’s: nobody else’s files are deleted from it', async () => {
    const path = join(scratch(), 'store')
    const filesDir = join(scratch(), 'public')
    mkdirSync(filesDir)
    const precious = ['index.html', 'a.lock', 'bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku']
    for (const name of precious) writeFileSync(join(filesDir, name), 'precious')
    mkdirSync(join(filesDir, 'folder'))
    const store = await openStore(path, { filesDir, keepLast: 1 })
    await store.persist({ blobs: { a: 'one' } })
    const { files: laidOut } = await store.materialize()
    await store.persist({ blobs: { a: 'two' } })
    expect(existsSync(laidOut.a!)).toBe(false)
    await store.close()
    for (const name of precious) expect(readFileSync(join(filesDir, name), 'utf8')).toBe('precious')
    expect(existsSync(join(filesDir, 'folder'))).toBe(true)
  })

  test('by somebody who made a directory of that name are an error, not a wrong answer', async () => {
    const path = await makeStore()
    const snapshot = (await loadSnapshot(path))!
    const at = join(path, 'files', snapshot.blob('b').cid)
    mkdirSync(at, { recursive: true })
    const file = await snapshot.blob('b').file()
    expect(file).toBe(at)
    expect(readFileSync(file, 'utf8')).toBe('text')
    symlinkSync(join(path, 'HEAD.json'), join(path, 'files', snapshot.blob('c').cid))
    expect(readFileSync(await snapshot.blob('c').file(), 'utf8')).toBe('more')
    await snapshot.dispose()
    expect(files(join(path, 'quarantine')).filter((name) => name.endsWith('.json'))).toHaveLength(2)
    expect(JSON.parse(readFileSync(join(path, 'HEAD.json'), 'utf8'))).toMatchObject({ format: 'holdfast-head' })
  })
})

describe('a path', () => {
  test('that is a file is not a store', async () => {
    const path = join(scratch(), 'file')
    writeFileSync(path, 'precious')
    await rejects(loadSnapshot(path), 'NOT_A_STORE')
    expect(await failure(persistSnapshot(path, { blobs }))).toMatchObject({ code: expect.any(String) })
    await rejects(destroyStore(path), 'NOT_A_STORE')
    expect(readFileSync(path, 'utf8')).toBe('precious')
  })

  test('that was moved is the same store', async () => {
    const path = await makeStore()
    renameSync(path, `${path}.moved`)
    expect(await loadSnapshot(path)).toBe(null)
    expect(await (await loadSnapshot(`${path}.moved`))!.blob('c').text()).toBe('more')
    expect((await persistSnapshot(`${path}.moved`, { blobs })).sequence).toBe(3)
  })

  test('that leads to a store by a link is that store, lock and all', async () => {
    const path = await makeStore()
    symlinkSync(path, `${path}.link`)
    const [one, two] = [await openStore(path), await openStore(`${path}.link`)]
    const results = await Promise.all(
      Array.from({ length: 6 }, (_, i) => (i % 2 === 0 ? one : two).persist({ blobs: { a: `${i}` } })),
    )
    expect(results.map(({ sequence }) => sequence).sort()).toEqual([3, 4, 5, 6, 7, 8])
    await one.close()
    await two.close()
  })

  test.each(['packs', 'tmp'])('whose %s is a link is refused for writing', async (name) => {
    const path = await makeStore()
    const elsewhere = scratch()
    renameSync(join(path, name), join(elsewhere, name))
    symlinkSync(join(elsewhere, name), join(path, name))
    const before = tree(elsewhere)
    const error = await rejects(persistSnapshot(path, { blobs: { a: 'new' } }), 'STORE_DAMAGED')
    expect(error.details).toEqual({ path: join(path, name) })
    expect(tree(elsewhere)).toEqual(before)
  })
})

describe('files that HEAD does not name', () => {
  test('are quarantined when they are no packs, or another store’s, with a warning', async () => {
    const [path, other] = [await makeStore(), await makeStore()]
    const foreign = readdirSync(join(other, 'packs'))[0]!
    writeFileSync(join(path, 'packs', foreign), readFileSync(join(other, 'packs', foreign)))
    writeFileSync(join(path, 'packs', `${'0'.repeat(64)}.pack`), 'no pack')
    writeFileSync(join(path, 'packs', 'note.txt'), 'not ours to judge')
    const warnings: Warning[] = []
    await persistSnapshot(path, { blobs: { a: 'new' }, onWarning: (warning) => warnings.push(warning) })
    expect(warnings.map(({ code, details }) => [code, details.reason]).sort()).toEqual([
      ['QUARANTINED', 'not-a-pack'],
      ['QUARANTINED', 'other-store'],
    ])
    const moved = readdirSync(join(path, 'quarantine'))
    expect(moved).toHaveLength(4)
    for (const { details } of warnings) expect(moved).toContain(basename(details.to as string))
    expect(readFileSync(join(path, 'packs', 'note.txt'), 'utf8')).toBe('not ours to judge')
    expect(readdirSync(join(path, 'packs')).filter((name) => name.startsWith(foreign))).toEqual([])
  })

  test('are deleted when an earlier persist left them', async () => {
    const path = await makeStore()
    const head = readFileSync(join(path, 'HEAD.json'))
    const previous = readFileSync(join(path, 'HEAD.prev.json'))
    await persistSnapshot(path, { blobs: { a: 'lost' } })
    const lost = files(join(path, 'packs'))
    // As if the persist had died before it replaced HEAD.
    writeFileSync(join(path, 'HEAD.json'), head)
    writeFileSync(join(path, 'HEAD.prev.json'), previous)
    expect(await (await loadSnapshot(path))!.blob('c').text()).toBe('more')
    await persistSnapshot(path, { blobs: { a: 'another' } })
    await persistSnapshot(path, { blobs: { a: 'and another' } })
    const now = files(join(path, 'packs'))
    expect(now.length).toBeLessThanOrEqual(lost.length + 1)
    expect(lost.filter((name) => !now.includes(name)).length).toBeGreaterThan(0)
  })

  test('and are of the future mean that an old HEAD was put back: nothing is deleted', async () => {
    const path = await makeStore()
    const head = readFileSync(join(path, 'HEAD.json'))
    for (let i = 0; i < 3; i++) await persistSnapshot(path, { blobs: { a: `${i}` } })
    writeFileSync(join(path, 'HEAD.json'), head)
    const before = files(path)
    const error = await rejects(persistSnapshot(path, { blobs: { a: 'new' } }), 'STORE_ROLLED_BACK')
    expect(error.kind).toBe('damaged')
    expect(files(path)).toEqual(before)
    expect(await (await loadSnapshot(path))!.blob('c').text()).toBe('more')
  })
})

describe('without locks', () => {
  test('`lock: none` leaves no lock file, and persists in one process still take turns', async () => {
    const path = join(scratch(), 'store')
    const [one, two] = [await openStore(path, { lock: 'none' }), await openStore(path, { lock: 'none' })]
    const results = await Promise.all(
      Array.from({ length: 6 }, (_, i) => (i % 2 === 0 ? one : two).persist({ blobs: { a: `${i}` } })),
    )
    expect(results.map(({ sequence }) => sequence).sort()).toEqual([1, 2, 3, 4, 5, 6])
    const snapshot = (await one.load())!
    const file = await snapshot.blob('a').file()
    expect(readFileSync(file, 'utf8')).toBe(await snapshot.blob('a').text())
    expect(files(path).filter((name) => name.endsWith('.lock'))).toEqual([])
    await two.persist({ blobs: { a: 'more' }, keepLast: 1 })
    await two.persist({ blobs: { a: 'even more' }, keepLast: 1 })
    // Nobody knows who uses it.
    expect(existsSync(file)).toBe(true)
    await one.close()
    await two.close()
  })
})

describe('setAside', () => {
  test('moves a store away whole, and the next persist starts afresh', async () => {
    const path = await makeStore()
    const content = files(path)
    const to = (await setAside(path, { reason: 'wrong model' }))!
    expect(existsSync(path)).toBe(false)
    expect(to).toMatch(/store\.quarantine.*store\.wrong-model\./)
    expect(files(to)).toEqual(content)
    expect(JSON.parse(readFileSync(`${to}.json`, 'utf8'))).toMatchObject({ original: path, reason: 'wrong model' })
    expect(await loadSnapshot(path)).toBe(null)
    expect((await persistSnapshot(path, { blobs })).sequence).toBe(1)
    expect((await loadSnapshot(to))!.sequence).toBe(2)
    expect(await setAside(new URL(`file://${path}`), { reason: 'again' })).not.toBe(null)
    expect(await setAside(path, { reason: 'nothing there' })).toBe(null)
  })

  test('takes a damaged store too, but nothing that is none', async () => {
    const path = await makeStore()
    writeFileSync(join(path, 'HEAD.json'), '')
    writeFileSync(join(path, 'STORE.json'), '')
    writeFileSync(join(path, 'HEAD.prev.json'), '')
    expect(await setAside(path, { reason: 'damaged' })).not.toBe(null)
    const other = scratch()
    writeFileSync(join(other, 'x'), 'x')
    await rejects(setAside(other, { reason: 'x' }), 'NOT_A_STORE')
    expect(files(other)).toEqual(['x'])
  })

  test('wants a reason, and waits for the writer', async () => {
    const path = await makeStore()
    expect(await failure(setAside(path, { reason: '' }))).toBeInstanceOf(TypeError)
    expect(await failure(setAside(path, {} as { reason: string }))).toBeInstanceOf(TypeError)
    expect(await failure(setAside('', { reason: 'x' }))).toBeInstanceOf(TypeError)
    let error: unknown
    await persistSnapshot(path, {
      blobs: {
        a: async (to) => {
          writeFileSync(to, 'x')
          error = await failure(setAside(path, { reason: 'x', lockWaitMs: 30 }))
        },
      },
    })
    expect(error).toMatchObject({ code: 'STORE_LOCKED' })
    expect((await loadSnapshot(path))!.sequence).toBe(3)
  })
})

describe('destroyStore', () => {
  test('deletes a store and says whether there was one', async () => {
    const path = await makeStore()
    const store = await openStore(path)
    await store.materialize()
    await store.close()
    expect(await destroyStore(path)).toBe(true)
    expect(readdirSync(join(path, '..'))).toEqual([])
    expect(await destroyStore(path)).toBe(false)
    await persistSnapshot(path, { blobs })
    expect((await loadSnapshot(path))!.sequence).toBe(1)
  })

  test('leaves snapshots that are open readable', async () => {
    const path = join(scratch(), 'store')
    const bytes = noise(5 * MIB, 1)
    await persistSnapshot(path, { blobs: { a: bytes } })
    const snapshot = (await loadSnapshot(path))!
    await destroyStore(path)
    expect(sameBytes(await snapshot.blob('a').bytes(), bytes)).toBe(true)
    await snapshot.dispose()
  })

  test.each<[string, (path: string) => void]>([
    ['an empty directory', () => undefined],
    ['a directory with files', (path) => writeFileSync(join(path, 'x'), 'x')],
    [
      'a directory with a folder of packs',
      (path) => {
        mkdirSync(join(path, 'packs'))
        writeFileSync(join(path, 'packs', 'textures.pack'), 'x')
      },
    ],
    ['another program’s HEAD.json', (path) => writeFileSync(join(path, 'HEAD.json'), '{"head": "main"}')],
    ['another program’s STORE.json', (path) => writeFileSync(join(path, 'STORE.json'), '{}')],
    ['a folder named HEAD.json', (path) => mkdirSync(join(path, 'HEAD.json'))],
  ])('refuses %s', async (_, fill) => {
    const path = scratch()
    fill(path)
    const before = tree(path)
    await rejects(destroyStore(path), 'NOT_A_STORE')
    await rejects(setAside(path, { reason: 'x' }), 'NOT_A_STORE')
    expect(tree(path)).toEqual(before)
  })

  test.each(['HEAD.json', 'STORE.json', 'HEAD.prev.json', 'packs'])('knows a store by its %s alone', async (only) => {
    const path = await makeStore()
    for (const name of readdirSync(path)) if (name !== only) renameSync(join(path, name), `${path}.${name}`)
    expect(await destroyStore(path)).toBe(true)
  })

  test('does not take a store from under a writer', async () => {
    const path = await makeStore()
    let error: unknown
    await persistSnapshot(path, {
      blobs: {
        a: async (to) => {
          writeFileSync(to, 'x')
          error = await failure(destroyStore(path, { lockWaitMs: 30 }))
        },
      },
    })
    expect(error).toMatchObject({ code: 'STORE_LOCKED' })
    expect((await loadSnapshot(path))!.sequence).toBe(3)
  })
})
