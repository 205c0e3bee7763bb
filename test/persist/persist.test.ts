import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import {
  type BlobInput,
  fixed,
  loadSnapshot,
  memory,
  openStore,
  type Progress,
  persistSnapshot,
} from '../../src/index.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { sample } from '../support/effort.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { kinds } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'
import { files, tree } from '../support/tree.ts'
import { watch } from '../support/watched.ts'

const MIB = 1024 * 1024

describe.each(kinds)('a persist to a $name store', ({ open, storage }) => {
  test('answers what was made of it', async () => {
    const store = await open({ compression: 'none' })
    const a = noise(100_000, 1)
    const first = await store.persist({ blobs: { a, b: 'text' }, message: 'the first' })
    expect(first).toMatchObject({
      sequence: 1,
      unchanged: false,
      blobs: { a: { size: 100_000 }, b: { size: 4 } },
      bytes: { total: 100_004, reused: 0, compacted: 0 },
    })
    expect(first.manifest).toMatch(/^bafyr4i/)
    expect(first.blobs.a!.cid).toMatch(/^bafyr4i/)
    expect(first.blobs.b!.cid).toMatch(/^bafkr4i/)
    expect(first.bytes.written).toBeGreaterThan(100_004)
    expect(first.bytes.written).toBeLessThan(105_000)
    expect(first.durationMs).toBeGreaterThan(0)
    const second = await store.persist({ blobs: { a, b: 'other text' } })
    expect(second).toMatchObject({ sequence: 2, unchanged: false, bytes: { total: 100_010, reused: 100_000 } })
    expect(second.blobs.a).toEqual(first.blobs.a)
    expect(second.bytes.written).toBeLessThan(3000)

    const snapshots = await store.snapshots()
    expect(snapshots).toMatchObject([
      { sequence: 2, manifest: second.manifest, tags: [], current: true, abandoned: false, size: 100_010 },
      { sequence: 1, manifest: first.manifest, message: 'the first', current: false, size: 100_004 },
    ])
    expect(snapshots[0]).not.toHaveProperty('message')
    expect(Math.abs(snapshots[0]!.time.getTime() - Date.now())).toBeLessThan(60_000)
  })

  test('of the same content writes nothing and says so', async () => {
    const watched = watch(storage())
    const store = storeOver(watched.storage, nodeFileSystem)
    const request = () => ({ blobs: { a: noise(5 * MIB, 1), b: '' }, metadata: { n: 1 }, watermark: 7 })
    const first = await store.persist(request())
    const written = watched.log.length
    const second = await store.persist(request())
    expect(second).toMatchObject({
      sequence: first.sequence,
      manifest: first.manifest,
      unchanged: true,
      blobs: first.blobs,
      bytes: { total: 5 * MIB, written: 0, reused: 5 * MIB, compacted: 0 },
    })
    expect(watched.log).toHaveLength(written)
    const third = await store.persist({ ...request(), metadata: { n: 2 } })
    expect(third).toMatchObject({ sequence: 2, unchanged: false })
    expect((await store.persist({ ...request(), metadata: { n: 2 }, watermark: 8 })).unchanged).toBe(false)
    expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([3, 2, 1])
  })

  test('gives the same manifest for the same content, whatever came before and in whatever order it was named', async () => {
    const [one, two] = [await open(), await open({ compression: 'none', packBytesMax: MIB })]
    await one.persist({ blobs: { z: 'something else', a: noise(70_000, 1) } })
    const a = await one.persist({
      blobs: { a: noise(90_000, 1), b: 'b', ab: 'ab' },
      metadata: { x: 1, nested: { b: 2, a: 1 } },
      message: 'one',
    })
    const b = await two.persist({
      blobs: new Map<string, BlobInput>([
        ['ab', 'ab'],
        ['b', 'b'],
        ['a', noise(90_000, 1)],
      ]),
      metadata: { nested: { a: 1, b: 2 }, x: 1 },
      message: 'two',
    })
    expect(b.manifest).toBe(a.manifest)
    expect((await one.load())!.names).toEqual((await two.load())!.names)
  })

  test.each([
    { chunking: fixed(4096) },
    { metadata: { x: 1 } },
    { watermark: 0 },
    { watermark: '0' },
    { blobs: { a: 'a', b: '' } },
    { blobs: { b: 'a' } },
    { blobs: { a: { source: 'a', type: 'text/plain' } } },
  ])('gives another manifest for %o', async (difference) => {
    const store = await open()
    const one = await store.persist({ blobs: { a: 'a' } })
    expect((await store.persist({ blobs: { a: 'a' }, ...difference })).manifest).not.toBe(one.manifest)
  })

  test('may have no blobs', async () => {
    const store = await open()
    await store.persist({ blobs: {}, metadata: { only: 'this' } })
    const snapshot = (await store.load())!
    expect(snapshot.names).toEqual([])
    expect(snapshot.size).toBe(0)
    expect(snapshot.metadata).toEqual({ only: 'this' })
  })

  test('may have a thousand blobs', async () => {
    const store = await open()
    const blobs = Object.fromEntries(Array.from({ length: 1000 }, (_, i) => [`blob ${i}`, `content ${i % 700}`]))
    await store.persist({ blobs })
    const second = await store.persist({ blobs: { ...blobs, 'blob 5': 'changed' } })
    expect(second.bytes.written).toBeLessThan(200_000)
    const snapshot = (await store.load())!
    expect(snapshot.names).toHaveLength(1000)
    expect(await snapshot.blob('blob 5').text()).toBe('changed')
    for (const [name, content] of sample('a thousand blobs', Object.entries(blobs), 200)) {
      if (name !== 'blob 5') expect(await snapshot.blob(name).text()).toBe(content)
    }
  })

  test('keeps names of any script apart, byte by byte', async () => {
    const store = await open()
    const names = [
      'a',
      'A',
      'ünïcödé',
      'n\u0303',
      '\u00f1',
      '漢字',
      'שלום',
      '🦑',
      '𝒳',
      ' ',
      'a b',
      '../up',
      '/root',
      'con',
      'x.lock',
      '\ufeffx',
      'x',
      '__proto__',
      'constructor',
      'toString',
      'hasOwnProperty',
      '0',
      '1',
      'a\nb',
      'é'.repeat(512),
    ]
    const saved = await store.persist({ blobs: names.map((name, i) => [name, `content ${i}`] as const) })
    expect(Object.keys(saved.blobs).sort()).toEqual([...names].sort())
    const snapshot = (await store.load())!
    expect([...snapshot.names].sort()).toEqual([...names].sort())
    for (const [i, name] of names.entries()) {
      expect(snapshot.has(name)).toBe(true)
      expect(await snapshot.blob(name).text()).toBe(`content ${i}`)
    }
    expect(snapshot.has('\u00e9'.normalize('NFD').repeat(512))).toBe(false)
    const { files: laidOut } = await store.materialize()
    expect(Object.keys(laidOut).sort()).toEqual([...names].sort())
  })

  test('of an object with a `__proto__` of its own keeps it as a blob', async () => {
    const store = await open()
    const blobs = JSON.parse('{ "__proto__": "evil", "b": "fine" }') as Record<string, string>
    const saved = await store.persist({ blobs })
    expect(Object.keys(saved.blobs).sort()).toEqual(['__proto__', 'b'])
    expect(await (await store.load())!.blob('__proto__').text()).toBe('evil')
    expect(({} as Record<string, unknown>).b).toBeUndefined()
  })

  test.each([
    ['', 'empty'],
    ['a\0b', 'NUL'],
    ['\ud800', 'lone surrogate'],
    ['x\udfff', 'lone surrogate'],
    ['é'.repeat(513), 'longer'],
  ])('refuses the blob name %j', async (name, reason) => {
    const store = await open()
    const error = await rejects(store.persist({ blobs: { fine: 'x', [name]: 'x' } }), 'BLOB_NAME_INVALID')
    expect(error.details).toMatchObject({ name, reason: expect.stringContaining(reason) })
    expect(await store.load()).toBe(null)
  })

  test('waits its turn behind another', async () => {
    const store = await open()
    const results = await Promise.all(
      Array.from({ length: 10 }, (_, i) => store.persist({ blobs: { a: `content ${i}` } })),
    )
    expect(results.map(({ sequence }) => sequence)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    expect(await (await store.load())!.blob('a').text()).toBe('content 9')
  })

  test('gives up when another takes too long', async () => {
    const store = await open()
    let release = (): void => undefined
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const slow = store.persist({ blobs: { a: () => held.then(() => false) } })
    const start = performance.now()
    const error = await rejects(store.persist({ blobs: { a: 'x' }, lockWaitMs: 50 }), 'STORE_LOCKED')
    expect(error.kind).toBe('busy')
    expect(performance.now() - start).toBeGreaterThan(40)
    await rejects(store.persist({ blobs: { a: 'x' }, lockWaitMs: 0 }), 'STORE_LOCKED')
    release()
    await rejects(slow, 'SOURCE_FAILED')
    expect((await store.persist({ blobs: { a: 'x' }, lockWaitMs: 0 })).sequence).toBe(1)
  })

  test('with `expectedHead` goes on only from that snapshot', async () => {
    const store = await open()
    const persist = (content: string, expectedHead: number | null) =>
      store.persist({ blobs: { a: content }, expectedHead })
    const early = await rejects(persist('x', 1), 'HEAD_CONFLICT')
    expect(early.details).toEqual({ expected: 1, current: null, own: false })
    await persist('one', null)
    await rejects(persist('two', null), 'HEAD_CONFLICT')
    await rejects(persist('two', 2), 'HEAD_CONFLICT')
    await persist('two', 1)
    const [first, second] = await Promise.allSettled([persist('three', 2), persist('other three', 2)])
    expect([first.status, second.status]).toEqual(['fulfilled', 'rejected'])
    expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([3, 2, 1])
    // Unchanged content does not excuse a wrong expectation.
    await rejects(persist('three', 2), 'HEAD_CONFLICT')
  })

  test.each<[string, () => () => unknown]>([
    [
      'another number',
      () => {
        let version = 0
        return () => version++
      },
    ],
    [
      'another promise',
      () => {
        let version = 0
        return async () => `v${version++}`
      },
    ],
    ['another object', () => () => ({})],
  ])('is refused when the source says that it changed: %s', async (_, make) => {
    const store = await open()
    await store.persist({ blobs: { a: 'before' } })
    const error = await rejects(store.persist({ blobs: { a: 'x' }, sourceVersion: make() }), 'SOURCE_CHANGED')
    expect(error.kind).toBe('conflict')
    expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([1])
  })

  test('is done when the source says that it did not change', async () => {
    const store = await open()
    const unchanged = vi.fn(async () => Number.NaN)
    await store.persist({ blobs: { a: 'x' }, sourceVersion: unchanged })
    expect(unchanged).toHaveBeenCalledTimes(2)
    const reason = new Error('no version')
    const thrower = () => {
      throw reason
    }
    expect(await failure(store.persist({ blobs: { a: 'y' }, sourceVersion: thrower }))).toBe(reason)
  })

  test('tells its progress, which only grows', async () => {
    const store = await open()
    const seen: Progress[] = []
    async function* stream(): AsyncGenerator<Uint8Array> {
      for (let i = 0; i < 9; i++) yield noise(MIB, i)
    }
    await store.persist({
      blobs: { a: noise(9 * MIB, 1), b: stream(), c: 'text' },
      onProgress: (progress) => seen.push(progress),
    })
    expect(seen.at(-1)).toEqual({ phase: 'committing' })
    const reading = seen.filter((progress) => progress.phase === 'reading')
    expect([...new Set(reading.map(({ blob }) => blob))]).toEqual(['a', 'b', 'c'])
    for (const [name, size, totalBytes] of [
      ['a', 9 * MIB, 9 * MIB],
      ['b', 9 * MIB, null],
      ['c', 4, 4],
    ] as const) {
      const steps = reading.filter(({ blob }) => blob === name)
      expect(steps.length).toBeGreaterThan(size > MIB ? 2 : 0)
      expect(steps.map(({ bytes }) => bytes)).toEqual(steps.map(({ bytes }) => bytes).toSorted((x, y) => x - y))
      expect(steps.at(-1)).toMatchObject({ bytes: size, totalBytes })
    }
    const written = reading.map(({ writtenBytes }) => writtenBytes)
    expect(written).toEqual(written.toSorted((x, y) => x - y))
    expect(written.at(-1)).toBeGreaterThan(17 * MIB)
  })

  test('rolls over to several packs, and every one is needed and found', async () => {
    const store = await open({ packBytesMax: MIB, compression: 'none' })
    const bytes = noise(13 * MIB, 1)
    await store.persist({ blobs: { a: bytes } })
    const changed = bytes.slice()
    changed.fill(0, 6 * MIB, 7 * MIB)
    await store.persist({ blobs: { a: changed, b: bytes.slice(0, 3 * MIB) } })
    expect(sameBytes(await (await store.load())!.blob('a').bytes(), changed)).toBe(true)
    expect(sameBytes(await (await store.load())!.blob('b').bytes(), bytes.subarray(0, 3 * MIB))).toBe(true)
    expect(sameBytes(await (await store.load({ at: 1 }))!.blob('a').bytes(), bytes)).toBe(true)
  })

  test('refuses a message that cannot be kept', async () => {
    const store = await open()
    for (const message of ['\ud800', 5 as unknown as string, null as unknown as string]) {
      expect(await failure(store.persist({ blobs: { a: 'x' }, message }))).toBeInstanceOf(TypeError)
    }
    await store.persist({ blobs: { a: 'x' }, message: '' })
    expect((await store.snapshots())[0]!.message).toBe('')
  })

  test.each([0, -1, 1.5, 1001, Number.NaN, '3' as unknown as number])(
    'refuses to keep the last %s',
    async (keepLast) => {
      const store = await open()
      expect(await failure(store.persist({ blobs: { a: 'x' }, keepLast }))).toBeInstanceOf(RangeError)
      expect(await failure(open({ keepLast }))).toBeInstanceOf(RangeError)
    },
  )

  test('after the store was closed is refused, and what was under way is finished first', async () => {
    const store = await open()
    const running = store.persist({ blobs: { a: noise(5 * MIB, 1) } })
    await store.close()
    expect((await running).sequence).toBe(1)
    await store.close()
    for (const call of [
      () => store.persist({ blobs: {} }),
      () => store.load(),
      () => store.restore(() => 1),
      () => store.snapshots(),
      () => store.tag('x'),
      () => store.untag('x'),
      () => store.rollback(1),
      () => store.materialize(),
    ]) {
      await rejects(call(), 'STORE_CLOSED')
    }
  })

  test('is told to those who listen', async () => {
    const store = await open()
    const events: unknown[] = []
    const listen = (event: unknown): void => void events.push(event)
    for (const name of ['holdfast:persist', 'holdfast:load']) {
      subscribe(name, listen)
      onTestFinished(() => void unsubscribe(name, listen))
    }
    const saved = await store.persist({ blobs: { a: 'x' } })
    await store.load()
    const { location } = store
    const { sequence, manifest } = saved
    expect(events).toMatchObject([
      { location, sequence, manifest, unchanged: false, durationMs: saved.durationMs },
      { location, sequence, manifest, skipped: [], durationMs: expect.any(Number) },
    ])
  })
})

describe('a directory', () => {
  test('is made by the first persist, and only by it', async () => {
    const path = join(scratch(), 'a', 'b')
    const store = await openStore(path)
    expect(await store.load()).toBe(null)
    expect(await store.snapshots()).toEqual([])
    await rejects(store.load({ required: true }), 'NO_SNAPSHOT')
    await rejects(store.tag('x'), 'SNAPSHOT_NOT_FOUND')
    await rejects(store.rollback(1), 'SNAPSHOT_NOT_FOUND')
    await failure(store.persist({ blobs: { '': 'x' } }))
    await failure(store.persist({ blobs: { a: 'x' }, metadata: { a: Number.NaN } }))
    await failure(store.persist({ blobs: { a: 'x' }, signal: AbortSignal.abort() }))
    expect(existsSync(join(path, '..'))).toBe(false)
    await store.persist({ blobs: { a: 'x' } })
    expect(existsSync(join(path, 'HEAD.json'))).toBe(true)
  })

  test('is not touched by a persist of the same content', async () => {
    const path = join(scratch(), 'store')
    const request = { blobs: { a: noise(MIB, 1) } }
    await persistSnapshot(path, request)
    await persistSnapshot(path, { blobs: { a: noise(MIB, 2) } })
    await persistSnapshot(path, request)
    const before = tree(path)
    const { unchanged } = await persistSnapshot(path, request)
    expect(unchanged).toBe(true)
    // Who holds the lock leaves a hint in it, the same each time.
    const after = tree(path)
    for (const found of [before, after]) found['writer.lock'] = found['writer.lock']!.split(' mode')[0]!
    expect(after).toEqual(before)
  })

  test('has nothing in it but what HEAD names, after success and after failure', async () => {
    const path = join(scratch(), 'store')
    const store = await openStore(path)
    for (let i = 0; i < 12; i++) {
      await store
        .persist({ blobs: { a: noise(20_000, i), b: (to) => nodeFileSystem.mkdir(to, 0o700).then(() => false) } })
        .catch(() => 0)
      await store.persist({ blobs: { a: noise(20_000, i), b: 'x' } })
    }
    const { head } = (await watchedHead(path))!
    const named = [...head.packs, ...head.retired].map(({ name }) => `packs/${name}.pack`)
    expect(files(path).filter((file) => file.startsWith('packs/') && !named.includes(file))).toEqual([])
    expect(files(path).filter((file) => !file.startsWith('packs/'))).toEqual([
      'HEAD.json',
      'HEAD.prev.json',
      'STORE.json',
      'writer.lock',
    ])
    expect(head.packs.every(({ name }) => existsSync(join(path, 'packs', `${name}.pack`)))).toBe(true)
  })

  test('is a store however it is named, and whoever opens it', async () => {
    const path = join(scratch(), 'store')
    const url = new URL(`file://${path}`)
    await persistSnapshot(path, { blobs: { a: '1' } })
    const [one, two] = [await openStore(url), await openStore(join(path, '..', 'store', '.'))]
    const results = await Promise.all([one.persist({ blobs: { a: '2' } }), two.persist({ blobs: { a: '3' } })])
    expect(results.map(({ sequence }) => sequence).sort()).toEqual([2, 3])
    const snapshot = await loadSnapshot(url)
    expect(snapshot!.sequence).toBe(3)
    expect(one.location).toBe(path)
    expect(await (await loadSnapshot(one))!.blob('a').text()).toBe(await snapshot!.blob('a').text())
    await persistSnapshot(two, { blobs: { a: '4' } })
    expect((await one.snapshots())[0]!.sequence).toBe(4)
  })

  test('of two stores gives one manifest for one content, as memory does', async () => {
    const request = { blobs: { a: noise(5 * MIB, 1), b: 'x' }, metadata: { a: [1, { b: null }] }, watermark: 'w' }
    const manifests = [
      await persistSnapshot(join(scratch(), 'x'), request),
      await persistSnapshot(join(scratch(), 'y'), request),
      await persistSnapshot(memory(), request),
    ].map(({ manifest }) => manifest)
    expect(new Set(manifests).size).toBe(1)
  })
})

async function watchedHead(path: string) {
  const { directoryAt } = await import('../support/storages.ts')
  return await directoryAt(path).readHead()
}

test.each([5, '', null, undefined, {}, new URL('https://example.org/x')])(
  '%o is no place for a store',
  async (place) => {
    const location = place as string
    expect(await failure(openStore(location))).toBeInstanceOf(TypeError)
    expect(await failure(loadSnapshot(location))).toBeInstanceOf(TypeError)
    expect(await failure(persistSnapshot(location, { blobs: {} }))).toBeInstanceOf(TypeError)
  },
)

test.each([
  { packBytesMax: 1000 },
  { packBytesMax: 2 ** 31 },
  { compression: 'gzip' as 'none' },
  { keepLast: 0 },
  { lock: 'maybe' as 'os' },
])('a store does not open with %o', async (options) => {
  const error = await failure(openStore('/nowhere', options))
  expect(error instanceof TypeError || error instanceof RangeError).toBe(true)
})
