import { randomBytes } from 'node:crypto'
import { beforeAll, describe, expect, test } from 'vitest'
import { clock } from '../../src/clock.ts'
import { fixed } from '../../src/format/chunking.ts'
import type { Head } from '../../src/format/head.ts'
import { ENTRY_BYTES, FANOUT_BYTES, FOOTER_BYTES } from '../../src/format/limits.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { nextHead } from '../../src/history/next-head.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import { localScratch } from '../../src/local/local.ts'
import { type ObjectClient, ObjectError } from '../../src/storage/object/client.ts'
import { packHead, unpackHead } from '../../src/storage/object/head-bytes.ts'
import { createTails, objectPack } from '../../src/storage/object/pack-file.ts'
import { probe } from '../../src/storage/object/probe.ts'
import { objectStorage } from '../../src/storage/object/storage.ts'
import type { Storage } from '../../src/storage/port.ts'
import { createStore, type Place, type Store } from '../../src/store.ts'
import { noise } from '../support/bytes.ts'
import { failure, rejects } from '../support/rejects.ts'
import { type SimulatedObjects, simulatedObjects } from '../support/simulated-objects.ts'

// What the storage makes of a server's answers. What many writers do to each other is in
// test/explore/object-histories.test.ts.

beforeAll(() => {
  clock.sleep = async () => undefined
})

const storeId = '0f1e2d3c4b5a69788796a5b4c3d2e1f0'
const waitMs = 5000

async function created(storage: Storage): Promise<void> {
  await storage.write({ waitMs }, (session) => session.create(storeId, new Date().toISOString()))
}

function storeOn(client: ObjectClient): Store {
  const storage = objectStorage({ client })
  return createStore({
    storage,
    fs: nodeFileSystem,
    local: localScratch(nodeFileSystem),
    journal: null,
    storageAt: null,
  })
}

/** A client of which some requests are answered otherwise. */
function answering(client: ObjectClient, answers: Partial<ObjectClient>): ObjectClient {
  return { ...client, ...answers }
}

function headOn(server: SimulatedObjects): Head {
  return JSON.parse(Buffer.from(server.objects.get('HEAD.json')!.bytes).toString())
}

describe('the probe', () => {
  test('finds that a good server does all that is needed', async () => {
    const { requirements, quoting } = await probe(simulatedObjects().client())
    expect(requirements.map(({ state }) => state)).toEqual(Array(8).fill('met'))
    expect(quoting).toBe('quoted')
  })

  test('finds out how a server wants its ETags', async () => {
    const server = simulatedObjects()
    server.ignores.add('quotes')
    const { requirements, quoting } = await probe(server.client())
    expect(requirements.every(({ state }) => state === 'met')).toBe(true)
    expect(quoting).toBe('unquoted')
    const store = storeOn(server.client())
    await store.persist({ blobs: { a: Buffer.from('a') } })
    await store.persist({ blobs: { a: Buffer.from('b') } })
    expect(await store.snapshots()).toHaveLength(2)
  })

  test.each([
    ['ifAbsent', 'If-None-Match: * refuses to replace an object'],
    ['ifMatch', 'If-Match refuses a wrong ETag'],
    ['list', 'a new object is listed at once'],
    ['delete', 'a deleted object is gone at once'],
  ] as const)('refuses a server that ignores %s, and names the condition', async (ignored, requirement) => {
    const server = simulatedObjects()
    server.ignores.add(ignored)
    const error = await rejects(
      storeOn(server.client()).persist({ blobs: { a: Buffer.from('a') } }),
      'STORAGE_UNSUPPORTED',
    )
    expect(error.message).toContain(requirement)
    expect(error.details.requirements).toContainEqual(expect.objectContaining({ name: requirement, state: 'violated' }))
    expect(server.objects.has('HEAD.json')).toBe(false)
  })

  test('is made once for a server and a process', async () => {
    const server = simulatedObjects()
    for (const content of ['a', 'b']) await storeOn(server.client()).persist({ blobs: { a: Buffer.from(content) } })
    expect(server.log.filter((line) => /^put probe\/.*-b$/.test(line))).toHaveLength(1)
  })
})

describe('a swap', () => {
  async function swapped(client: ObjectClient): Promise<{ storage: Storage; revision: number }> {
    const storage = objectStorage({ client, trusted: 'quoted' })
    return await storage.write({ waitMs }, async (session) => {
      await session.swapHead((stored) => nextHead(stored.head, {}))
      return { storage, revision: session.stored!.head.revision }
    })
  }

  test('whose answer is lost is found in HEAD', async () => {
    const server = simulatedObjects()
    await created(objectStorage({ client: server.client(), trusted: 'quoted' }))
    const real = server.client()
    let lost = 0
    const client = answering(real, {
      async put(key, bytes, options) {
        const answer = await real.put(key, bytes, options)
        if (key === 'HEAD.json' && lost++ === 0) throw new ObjectError('reset', 0, 'ConnectionReset')
        return answer
      },
    })
    expect((await swapped(client)).revision).toBe(1)
    expect(server.heads).toHaveLength(2)
  })

  test('that may or may not be done is COMMIT_UNKNOWN, and is not acknowledged as unchanged later', async () => {
    const server = simulatedObjects()
    const real = server.client()
    let silent = false
    const client = answering(real, {
      put: (key, bytes, options) =>
        silent && key === 'HEAD.json'
          ? Promise.reject(new ObjectError('timeout', 0, 'Timeout'))
          : real.put(key, bytes, options),
    })
    const store = storeOn(client)
    await store.persist({ blobs: { a: Buffer.from('a') } })
    silent = true
    const error = await rejects(store.persist({ blobs: { a: Buffer.from('b') } }), 'COMMIT_UNKNOWN')
    expect(error.details.write).toMatch(/^[0-9a-f]{16}$/)
    silent = false
    const before = headOn(server).revision
    expect(await store.persist({ blobs: { a: Buffer.from('a') } })).toMatchObject({ unchanged: true, sequence: 1 })
    // So the late one can take effect no more.
    expect(headOn(server).revision).toBe(before + 1)
    expect(await store.persist({ blobs: { a: Buffer.from('a') } })).toMatchObject({ unchanged: true })
    expect(headOn(server).revision).toBe(before + 1)
  })

  test('that is refused for good changes nothing, and is IO_FAILED with the status', async () => {
    const server = simulatedObjects()
    await created(objectStorage({ client: server.client(), trusted: 'quoted' }))
    const real = server.client()
    const client = answering(real, {
      put: (key, bytes, options) =>
        key === 'HEAD.json' ? Promise.reject(new ObjectError('', 403, 'AccessDenied')) : real.put(key, bytes, options),
    })
    const error = await rejects(swapped(client), 'IO_FAILED')
    expect(error.details).toMatchObject({ status: 403, code: 'AccessDenied' })
    expect(server.heads).toHaveLength(1)
  })

  test('of a HEAD that is given as it is conflicts with another writer', async () => {
    const server = simulatedObjects()
    const [a, b] = [1, 2].map(() => objectStorage({ client: server.client(), trusted: 'quoted' }))
    await created(a!)
    await a!.write({ waitMs }, async (session) => {
      await b!.write({ waitMs }, (other) => other.swapHead((stored) => nextHead(stored.head, {})))
      await rejects(session.swapHead(nextHead(session.stored!.head, {})), 'HEAD_CONFLICT')
    })
    expect(headOn(server).revision).toBe(1)
  })

  test('is made again from the HEAD of a faster writer', async () => {
    const server = simulatedObjects()
    const [a, b] = [1, 2].map(() => objectStorage({ client: server.client(), trusted: 'quoted' }))
    await created(a!)
    await a!.write({ waitMs }, async (session) => {
      await b!.write({ waitMs }, (other) => other.swapHead((stored) => nextHead(stored.head, {})))
      const met: number[] = []
      await session.swapHead((stored) => {
        met.push(stored.head.revision)
        return nextHead(stored.head, {})
      })
      expect(met).toEqual([0, 1])
      expect(session.stored!.head.revision).toBe(2)
    })
  })

  test('that a bad server lets through twice is HEAD_FORKED, with both kept', async () => {
    const server = simulatedObjects()
    const [a, b] = [1, 2].map(() => objectStorage({ client: server.client(), trusted: 'quoted' }))
    await created(a!)
    server.ignores.add('ifMatch')
    const forked = await failure(
      a!.write({ waitMs }, async (session) => {
        await b!.write({ waitMs }, (other) => other.swapHead((stored) => nextHead(stored.head, {})))
        await session.swapHead((stored) => nextHead(stored.head, {}))
      }),
    )
    expect(forked).toMatchObject({ code: 'HEAD_FORKED', details: { revision: 1 } })
    expect([...server.objects.keys()].filter((key) => /^heads\/.*fffe-/.test(key))).toHaveLength(2)
  })

  test('that a server always refuses names the condition', async () => {
    const server = simulatedObjects()
    await created(objectStorage({ client: server.client(), trusted: 'quoted' }))
    // From here on it takes no ETag as it is, and neither does it without quotes.
    const real = server.client()
    const client = answering(real, {
      put: (key, bytes, options) =>
        options?.ifMatch === undefined
          ? real.put(key, bytes, options)
          : Promise.reject(new ObjectError('', 412, 'PreconditionFailed')),
    })
    const error = await rejects(swapped(client), 'STORAGE_UNSUPPORTED')
    expect(error.message).toContain('If-Match accepts the right ETag')
  })

  test('of a store whose HEAD is gone is HEAD_MISSING, and no creation', async () => {
    const server = simulatedObjects()
    const storage = objectStorage({ client: server.client(), trusted: 'quoted' })
    await created(storage)
    server.objects.delete('HEAD.json')
    await rejects(storage.readHead(), 'HEAD_MISSING')
    const fresh = objectStorage({ client: server.client(), trusted: 'quoted' })
    await rejects(fresh.readHead(), 'HEAD_MISSING')
    await rejects(created(fresh), 'HEAD_MISSING')
    server.objects.delete('STORE.json')
    await rejects(storage.readHead(), 'HEAD_MISSING')
  })

  test('never takes an old HEAD for the newest', async () => {
    const server = simulatedObjects()
    const storage = objectStorage({ client: server.client(), trusted: 'quoted' })
    await created(storage)
    await storage.write({ waitMs }, (session) => session.swapHead((stored) => nextHead(stored.head, {})))
    let reads = 0
    server.stale = () => (reads++ < 3 ? 1 : 0)
    expect((await storage.readHead())!.head.revision).toBe(1)
    expect(reads).toBe(4)
    server.stale = () => 1
    await rejects(storage.readHead(), 'STORE_ROLLED_BACK')
  })

  test('finishes a creation that another writer did not', async () => {
    const server = simulatedObjects()
    await created(objectStorage({ client: server.client(), trusted: 'quoted' }))
    server.objects.delete('STORE.json')
    const store = storeOn(server.client())
    await store.persist({ blobs: { a: Buffer.from('a') } })
    expect(Buffer.from(server.objects.get('STORE.json')!.bytes).toString()).toContain(storeId)
  })
})

describe('a pack', () => {
  const content = randomBytes(50_000)

  async function uploaded(client: ObjectClient): Promise<Buffer> {
    const storage = objectStorage({ client, trusted: 'quoted', partBytes: 8_192 })
    await created(storage)
    return await storage.write({ waitMs }, async (session) => {
      const sink = await session.createPack(1)
      for (let at = 0; at < content.length; at += 3_000) {
        await sink.write([content.subarray(at, at + 3_000)], at)
        // Parts are sent meanwhile, so that their memory is used again.
        await clock.nextTurn()
      }
      await sink.commit('a'.repeat(64))
      const bytes = Buffer.alloc(content.length)
      await (await storage.openPack('a'.repeat(64))).read(bytes, 0)
      return bytes
    })
  }

  test('of some size is uploaded in parts', async () => {
    const server = simulatedObjects()
    expect((await uploaded(server.client())).equals(content)).toBe(true)
    expect(server.log.filter((line) => line.startsWith('uploadPart'))).toHaveLength(7)
    expect(await server.client().listUploads('')).toEqual([])
  })

  test('of which a part lands late, after it was sent again, is whole', async () => {
    const server = simulatedObjects()
    const real = server.client()
    let late: (() => Promise<unknown>) | null = null
    const client = answering(real, {
      async uploadPart(key, upload, number, bytes) {
        if (late !== null) return await real.uploadPart(key, upload, number, bytes)
        // It reads its memory when it lands.
        late = () => real.uploadPart(key, upload, number, bytes)
        throw new ObjectError('timeout', 0, 'Timeout')
      },
      async completeUpload(key, upload, parts) {
        await late!()
        await real.completeUpload(key, upload, parts)
      },
    })
    expect((await uploaded(client)).equals(content)).toBe(true)
  })

  test('whose completion is not answered is found', async () => {
    const server = simulatedObjects()
    const real = server.client()
    let completions = 0
    const client = answering(real, {
      async completeUpload(key, upload, parts) {
        await real.completeUpload(key, upload, parts)
        if (completions++ === 0) throw new ObjectError('reset', 0, 'ConnectionReset')
      },
    })
    expect((await uploaded(client)).equals(content)).toBe(true)
  })

  test('that cannot be uploaded leaves no upload behind', async () => {
    const server = simulatedObjects()
    const real = server.client()
    const client = answering(real, { uploadPart: () => Promise.reject(new ObjectError('', 403, 'AccessDenied')) })
    await rejects(uploaded(client), 'IO_FAILED')
    expect(await server.client().listUploads('')).toEqual([])
  })

  test('of many blocks is opened without a range that is fetched twice', async () => {
    const server = simulatedObjects()
    const store = storeOn(server.client())
    await store.persist({ blobs: { many: { source: randomBytes(10_000 * 512), chunking: fixed(512) } } })
    const ranges: string[] = []
    const real = server.client()
    const client = answering(real, {
      get: async (key, request = {}) => {
        if (key.startsWith('packs/')) ranges.push(`${key} ${JSON.stringify(request.range)}`)
        return await real.get(key, request)
      },
    })
    const snapshot = (await storeOn(client).load({ required: true }))!
    await snapshot.blob('many').bytes()
    await snapshot.dispose()
    expect(ranges.length).toBeGreaterThan(2)
    expect(ranges).toEqual([...new Set(ranges)])
  })

  test('has its end fetched once, when one block at the end of its index is looked for first', async () => {
    const bytes = 1_000_000
    const starts: number[] = []
    const client = answering(simulatedObjects().client(), {
      async get(_key, { range } = {}) {
        starts.push(range!.start)
        return { state: 'found', bytes: new Uint8Array(range!.end - range!.start), etag: null }
      },
    })
    const pack = objectPack(client, 'x', { key: 'x.pack', bytes, blocks: 10 }, createTails())
    const index = FANOUT_BYTES + 10 * ENTRY_BYTES
    await pack.read(new Uint8Array(ENTRY_BYTES), bytes - FOOTER_BYTES - ENTRY_BYTES)
    await pack.read(new Uint8Array(index), bytes - FOOTER_BYTES - index)
    expect(starts).toHaveLength(1)
    // Whoever has read all of it has it in another form.
    await pack.read(new Uint8Array(FOOTER_BYTES), bytes - FOOTER_BYTES)
    expect(starts).toHaveLength(2)
  })

  test('keeps what comes before the indexes of so many packs', () => {
    const tails = createTails()
    for (let i = 0; i < 20; i++) tails.put(`${i}`, new Uint8Array(1024 * 1024))
    tails.put('19', new Uint8Array(1024 * 1024))
    expect(Array.from({ length: 20 }, (_, i) => tails.get(`${i}`) !== undefined)).toEqual(
      Array.from({ length: 20 }, (_, i) => i >= 4),
    )
  })

  test('puts each part where it belongs, however the answer is cut, and again after one that broke off', async () => {
    const server = simulatedObjects()
    const real = server.client()
    const whole = noise(1_000_000, 1)
    await real.put('packs/x.pack', whole)
    const wanted = [
      [100, 3],
      [103, 5_000],
      [6_000, 1],
      [7_000, 20_000],
    ] as const
    for (const cut of [1, 7, 900, 903, 5_003, 26_900]) {
      let tries = 0
      const client = answering(real, {
        async get(_key, { range, into } = {}) {
          tries += 1
          // The first answer is of something else.
          const bytes =
            tries === 1 ? new Uint8Array(range!.end - range!.start) : whole.subarray(range!.start, range!.end)
          const until = tries === 1 ? bytes.length / 2 : bytes.length
          for (let at = 0; at < until; at += cut) into!(bytes.subarray(at, at + cut), at)
          if (tries === 1) throw new ObjectError('it broke off', 0, 'ECONNRESET')
          return { state: 'found', bytes: new Uint8Array(0), etag: null, isGiven: true }
        },
      })
      const pack = objectPack(client, 'x', { key: 'x.pack', bytes: whole.length, blocks: 10 }, createTails())
      const parts = wanted.map(([position, bytes]) => ({ position, target: new Uint8Array(bytes) }))
      await pack.readParts!(parts)
      expect(tries).toBe(2)
      for (const { position, target } of parts) {
        expect(Buffer.compare(target, whole.subarray(position, position + target.length)), `${cut} ${position}`).toBe(0)
      }
    }
  })

  test('takes two requests to open and read, and a small one takes one', async () => {
    const server = simulatedObjects()
    const store = storeOn(server.client())
    await store.persist({ blobs: { small: randomBytes(20_000) } })
    await store.persist({ blobs: { large: randomBytes(700_000) } })
    for (const [at, requests] of [
      [1, 1],
      // The header; the end, with the index, the manifest and the blob's nodes; its bytes.
      [2, 3],
    ] as const) {
      const other = storeOn(server.client())
      const snapshot = (await other.load({ at }))!
      server.log.length = 0
      const fresh = (await storeOn(server.client()).load({ at }))!
      for (const name of fresh.names) await fresh.blob(name).bytes()
      expect(server.log.filter((line) => line.startsWith('get packs/')).length).toBeLessThanOrEqual(requests)
      await snapshot.dispose()
      await fresh.dispose()
    }
  })
})

describe('a repair', () => {
  async function filled(): Promise<{ server: SimulatedObjects; store: Store }> {
    const server = simulatedObjects()
    const store = storeOn(server.client())
    for (const content of ['a', 'b', 'c']) await store.persist({ blobs: { a: Buffer.from(content.repeat(100)) } })
    return { server, store }
  }

  test('puts a lost HEAD back from its newest copy', async () => {
    const { server } = await filled()
    const before = headOn(server)
    server.objects.delete('HEAD.json')
    const store = storeOn(server.client())
    expect((await store.repair()).applied).toBe(true)
    expect(headOn(server)).toMatchObject({ storeId: before.storeId, current: before.current })
    expect((await store.verify()).problems).toEqual([])
    await store.persist({ blobs: { a: Buffer.from('d') } })
  })

  test('replaces a damaged HEAD, and keeps what it was', async () => {
    const { server } = await filled()
    const object = server.objects.get('HEAD.json')!
    object.bytes = new Uint8Array(object.bytes)
    object.bytes[100]! ^= 1
    object.etag = 'damaged'
    const store = storeOn(server.client())
    await rejects(store.load(), 'HEAD_DAMAGED')
    expect((await store.repair()).applied).toBe(true)
    expect(await (await store.load())!.blob('a').text()).toBe('c'.repeat(100))
    expect([...server.objects.keys()].some((key) => key.startsWith('quarantine/HEAD.json.damaged.'))).toBe(true)
  })

  test('finds nothing to do in an intact store', async () => {
    const { store } = await filled()
    expect(await store.repair()).toMatchObject({ ok: true, applied: false })
    expect((await store.verify()).ok).toBe(true)
  })

  test.each(['lost', 'damaged', 'intact'])('does not count records that no HEAD named (HEAD is %s)', async (state) => {
    const { server } = await filled()
    const real = server.client()
    const refused = answering(real, {
      put: (key, bytes, options) =>
        key === 'HEAD.json' ? Promise.reject(new ObjectError('', 403, 'AccessDenied')) : real.put(key, bytes, options),
    })
    await rejects(
      createStore({
        storage: objectStorage({ client: refused, trusted: 'quoted' }),
        fs: nodeFileSystem,
        local: localScratch(nodeFileSystem),
        journal: null,
        storageAt: null,
      }).persist({ blobs: { a: Buffer.from('never committed') } }),
      'IO_FAILED',
    )
    const object = server.objects.get('HEAD.json')!
    if (state === 'lost') server.objects.delete('HEAD.json')
    if (state === 'damaged') server.objects.set('HEAD.json', { ...object, bytes: object.bytes.slice(0, 50), etag: 'x' })
    const store = storeOn(server.client())
    expect((await store.repair()).applied).toBe(state !== 'intact')
    expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([3, 2, 1])
    expect(await (await store.load())!.blob('a').text()).toBe('c'.repeat(100))
  })

  test('marks a pack that is put into quarantine, and nothing deletes it', async () => {
    const server = simulatedObjects()
    const storage = objectStorage({ client: server.client(), trusted: 'quoted' })
    await created(storage)
    await storage.write({ waitMs }, async (session) => {
      for (const digit of ['a', 'b']) {
        const sink = await session.createPack(1)
        await sink.write([Buffer.from(digit)], 0)
        await sink.commit(digit.repeat(64))
      }
      await session.quarantinePack('a'.repeat(64), 'damaged', { why: 'test' })
      await session.swapHead((stored) => nextHead(stored.head, {}))
      const limits = { graceMs: 0, orphanMs: 0, signal: undefined }
      const collected = await session.collect!(limits, (change) =>
        session.swapHead((stored) => nextHead(stored.head, change)),
      )
      expect(collected).toEqual({ deletedPacks: 1, deletedBytes: 1, retiredBytes: 0, waitingPacks: 0 })
      expect(session.stored!.head.floor).toBe(1)
    })
    expect([...server.objects.keys()].filter((key) => key.startsWith('packs/'))).toHaveLength(1)
  })
})

describe('requests', () => {
  async function counted(server: SimulatedObjects, work: () => Promise<unknown>): Promise<string[]> {
    server.log.length = 0
    await work()
    // Of random names, only the folder.
    return server.log.map((line) => line.replace(/(packs|heads)\/.*/, '$1'))
  }

  test('of each operation are what docs/object-stores.md says', async () => {
    const server = simulatedObjects()
    const store = storeOn(server.client())
    const persist = (text: string): Promise<unknown> => store.persist({ blobs: { a: Buffer.from(text) } })
    const first = await counted(server, () => persist('a'))
    expect(first.filter((line) => line.includes('probe/'))).toHaveLength(18)
    expect(first.filter((line) => !line.includes('probe/'))).toHaveLength(13)
    expect(await counted(server, () => persist('b'))).toEqual([
      'get HEAD.json',
      'put packs',
      'put packs',
      'put HEAD.json',
      'put heads',
      'list heads',
    ])
    expect(await counted(server, () => persist('b'))).toEqual(['get HEAD.json', 'get packs'])
    expect(await counted(server, () => store.tag('x'))).toHaveLength(5)
    const reader = storeOn(server.client())
    const load = async (): Promise<void> => {
      const snapshot = (await reader.load())!
      await snapshot.blob('a').bytes()
      await snapshot.dispose()
    }
    expect(await counted(server, load)).toEqual(['get HEAD.json', 'get packs'])
    expect(await counted(server, load)).toEqual(['get HEAD.json', 'get packs'])
  })
})

describe('requests one after the other', () => {
  const PERSISTS = 7
  const ONE = 512 * 1024

  /** What work takes when all requests that are under way are answered together: so many answers are waited for. */
  async function rounds(server: SimulatedObjects, work: (store: Store) => Promise<unknown>): Promise<number> {
    let count = 0
    let answering: ReturnType<typeof setTimeout> | null = null
    const waiting: (() => void)[] = []
    const delayed = async (): Promise<void> => {
      const answered = new Promise<void>((resolve) => waiting.push(resolve))
      if (answering !== null) clearTimeout(answering)
      answering = setTimeout(() => {
        count += 1
        for (const answer of waiting.splice(0)) answer()
      }, 60)
      await answered
    }
    const client = server.client()
    const { get, put, head, list } = client
    const far: ObjectClient = {
      ...client,
      get: async (...args) => delayed().then(() => get(...args)),
      put: async (...args) => delayed().then(() => put(...args)),
      head: async (...args) => delayed().then(() => head(...args)),
      list: async (...args) => delayed().then(() => list(...args)),
    }
    const place = { fs: nodeFileSystem, local: localScratch(nodeFileSystem), journal: null, storageAt: null }
    const store = createStore(
      { ...place, storage: objectStorage({ client: far, trusted: 'quoted' }) },
      { keepLast: 50 },
    )
    await work(store)
    await store.close()
    return count
  }

  const content = (version: number): Record<string, Uint8Array> => ({
    data: Buffer.concat(Array.from({ length: PERSISTS }, (_, i) => noise(ONE, i < version ? 100 + i : i))),
  })

  test('are few, however many packs a snapshot is in', async () => {
    const server = simulatedObjects()
    for (let version = 1; version <= PERSISTS; version++) {
      const writer = storeOn(server.client())
      await writer.persist({ blobs: content(version) })
      await writer.close()
    }
    // HEAD; the pack with the manifest.
    const load = async (store: Store): Promise<Snapshot> => (await store.load())!
    expect(await rounds(server, async (store) => (await load(store)).dispose())).toBe(2)
    // The other packs, four at a time and then eight; the chunks.
    const read = async (store: Store): Promise<void> => {
      const snapshot = await load(store)
      expect(Buffer.compare(await snapshot.blob('data').bytes(), content(PERSISTS).data!)).toBe(0)
      await snapshot.dispose()
    }
    // A busy machine may ask for some of them later than for others.
    expect(await rounds(server, read)).toBeLessThanOrEqual(8)
    // HEAD and STORE.json; three times packs; pack and commit record; HEAD; its copy; the look for another copy.
    const persist = (store: Store): Promise<unknown> => store.persist({ blobs: content(1) })
    expect(await rounds(server, persist)).toBeLessThanOrEqual(12)
  })
})

describe('gc', () => {
  async function retired(): Promise<{ server: SimulatedObjects; store: Store }> {
    const server = simulatedObjects()
    const storage = objectStorage({ client: server.client() })
    const place = { storage, fs: nodeFileSystem, local: localScratch(nodeFileSystem), journal: null, storageAt: null }
    const store = createStore(place, { keep: { last: 1 } })
    for (const text of ['a', 'b', 'c']) await store.persist({ blobs: { a: Buffer.from(text) } })
    return { server, store }
  }
  const packs = (server: SimulatedObjects): number =>
    [...server.objects.keys()].filter((key) => key.startsWith('packs/')).length

  test('leaves readers their grace, and then gives back what HEAD has retired', async () => {
    const { server, store } = await retired()
    expect(headOn(server).retired).toHaveLength(4)
    expect(await store.gc()).toMatchObject({ done: false, freedBytes: 0 })
    expect(packs(server)).toBe(6)
    // Those of the newest HEAD wait for the next one.
    expect(await store.gc({ graceMs: 0 })).toMatchObject({ done: false })
    expect(packs(server)).toBe(4)
    expect(await store.gc({ graceMs: 0 })).toMatchObject({ done: true })
    expect(packs(server)).toBe(2)
    expect(headOn(server).retired).toEqual([])
    expect(await (await store.load())!.blob('a').text()).toBe('c')
  })

  test('deletes nothing when a kept snapshot needs what HEAD does not name', async () => {
    const { server, store } = await retired()
    const head = headOn(server)
    const needed = head.packs.find(({ id }) => id === head.snapshots[0]!.pack)!
    server.objects.delete(`packs/${needed.key}`)
    const other = storeOn(server.client())
    await rejects(other.gc({ graceMs: 0 }), 'SNAPSHOT_DAMAGED')
    expect(packs(server)).toBe(5)
    await store.close()
  })

  test('of 10,000 packs with one dead snapshot takes 20 requests beside its deletions', async () => {
    const { server, store } = await retired()
    const { head } = await unpackHead(server.objects.get('HEAD.json')!.bytes, 'HEAD')
    const more = Array.from({ length: 10_000 }, (_, i) => ({
      id: 1_000 + i,
      name: randomBytes(32).toString('hex'),
      bytes: 1,
      blocks: 0,
      live: null,
      key: `0000000000000001-${randomBytes(16).toString('hex')}`,
    }))
    for (const { key } of more) server.objects.set(`packs/${key}`, server.objects.get('STORE.json')!)
    const bytes = await packHead({ ...head, packs: [...head.packs, ...more] })
    server.objects.set('HEAD.json', { ...server.objects.get('HEAD.json')!, bytes, etag: 'more' })
    server.objects.set('orphans.json', { ...server.objects.get('STORE.json')!, lastModifiedMs: Date.now() })
    await store.close()
    const collector = storeOn(server.client())
    server.log.length = 0
    expect(await collector.gc({ graceMs: 0 })).toMatchObject({ freedBytes: expect.any(Number) })
    const deletions = server.log.filter((line) => /^(delete|head) packs/.test(line))
    expect(deletions.length).toBeGreaterThanOrEqual(4)
    const others = server.log.filter((line) => !line.includes('probe/') && !deletions.includes(line))
    expect(others.length, others.join('\n')).toBeLessThanOrEqual(20)
    await collector.close()
  })

  test('looks for what no HEAD names now and then, and aborts uploads that were left', async () => {
    const server = simulatedObjects()
    const storage = objectStorage({ client: server.client(), trusted: 'quoted' })
    await created(storage)
    const client = server.client()
    const left = await client.startUpload('packs/left')
    const collect = (orphanMs: number): Promise<unknown> =>
      storage.write({ waitMs }, (session) =>
        session.collect!({ graceMs: 0, orphanMs, signal: undefined }, (change) =>
          session.swapHead((stored) => nextHead(stored.head, change)),
        ),
      )
    const looked = async (orphanMs: number): Promise<boolean> => {
      server.log.length = 0
      await collect(orphanMs)
      return server.log.includes('list packs/')
    }
    expect(await looked(60_000)).toBe(true)
    expect(await looked(60_000)).toBe(false)
    expect(await client.listUploads('packs/')).toEqual([expect.objectContaining({ upload: left })])
    server.objects.get('orphans.json')!.lastModifiedMs -= 10_000
    expect(await looked(60_000)).toBe(true)
    expect(await looked(0)).toBe(true)
    expect(await client.listUploads('packs/')).toEqual([])
  })

  test('refuses what it does not do there', async () => {
    const { store } = await retired()
    await expect(store.gc({ complete: true })).rejects.toThrow(TypeError)
  })
})

describe('a large blob', () => {
  const MIB = 2 ** 20
  const bytes = noise(48 * MIB, 1)

  async function opened(
    compression: 'none' | 'zstd',
    content: Uint8Array,
  ): Promise<{ server: SimulatedObjects; store: Store }> {
    const server = simulatedObjects()
    const place = (): Place => ({
      storage: objectStorage({ client: server.client() }),
      fs: nodeFileSystem,
      local: localScratch(nodeFileSystem),
      journal: null,
      storageAt: null,
    })
    const writer = createStore(place(), { compression, packBytesMax: 32 * MIB })
    await writer.persist({ blobs: { large: content } })
    await writer.close()
    return { server, store: createStore(place()) }
  }

  test.each(['bytes', 'stream', 'file'] as const)(
    '(%s) is fetched in ranges of megabytes, many at a time',
    async (how) => {
      const { server, store } = await opened('none', bytes)
      let underWay = 0
      let most = 0
      const client = server.client()
      const get = client.get
      const slow: ObjectClient = {
        ...client,
        async get(key, options) {
          underWay += 1
          most = Math.max(most, underWay)
          await new Promise((resolve) => setTimeout(resolve, 5))
          underWay -= 1
          return await get(key, options)
        },
      }
      const reader = storeOn(slow)
      await store.close()
      server.log.length = 0
      const snapshot = (await reader.load())!
      const blob = snapshot.blob('large')
      if (how === 'bytes') expect(Buffer.compare(await blob.bytes(), bytes)).toBe(0)
      else if (how === 'file') await blob.file()
      else for await (const _part of blob.stream());
      await snapshot.dispose()
      // Twelve segments, one of them in two packs; header and end of two packs. The manifest, the segments and most of
      // the nodes are in the ends.
      expect(server.log.filter((line) => line.startsWith('get packs/')).length).toBeLessThanOrEqual(22)
      expect(most).toBeGreaterThanOrEqual(8)
      expect(most).toBeLessThanOrEqual(17)
      await reader.close()
    },
  )

  test('that is compressed is fetched so, too', async () => {
    const text = Buffer.alloc(32 * MIB)
    const words = noise(32 * MIB, 2)
    for (let i = 0; i < text.length; i++) text[i] = 97 + (words[i]! & 15)
    const { server, store } = await opened('zstd', text)
    server.log.length = 0
    const snapshot = (await store.load())!
    expect(Buffer.compare(await snapshot.blob('large').bytes(), text)).toBe(0)
    await snapshot.dispose()
    expect(server.log.filter((line) => line.startsWith('get packs/')).length).toBeLessThanOrEqual(22)
    await store.close()
  })

  test('of which 1 % changed all over is fetched in few requests', async () => {
    const { server, store } = await opened('none', bytes)
    await store.close()
    const changed = new Uint8Array(bytes)
    for (let at = 100_000; at < changed.length; at += 1_600_000) changed.set(noise(16_000, at), at)
    const writer = storeOn(server.client())
    await writer.persist({ blobs: { large: changed } })
    await writer.close()
    const reader = storeOn(server.client())
    server.log.length = 0
    const snapshot = (await reader.load())!
    expect(Buffer.compare(await snapshot.blob('large').bytes(), changed)).toBe(0)
    await snapshot.dispose()
    expect(server.log.filter((line) => line.startsWith('get packs/')).length).toBeLessThanOrEqual(60)
    await reader.close()
  })
})
