import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import {
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { cached } from '../../src/cached.ts'
import { clock } from '../../src/clock.ts'
import { openStore } from '../../src/open.ts'
import { type RemoteLocation, remoteLocation } from '../../src/remote.ts'
import { type ObjectClient, ObjectError } from '../../src/storage/object/client.ts'
import { objectStorage } from '../../src/storage/object/storage.ts'
import type { Store } from '../../src/store.ts'
import { noise } from '../support/bytes.ts'
import { mountTmpfs } from '../support/mounted.ts'
import { rejects } from '../support/rejects.ts'
import { httpObjects } from '../support/s3-http.ts'
import { scratch } from '../support/scratch.ts'
import { type SimulatedObjects, simulatedObjects } from '../support/simulated-objects.ts'

const MIB = 1024 * 1024
const realSleep = clock.sleep

beforeAll(() => {
  clock.sleep = async () => undefined
})

function placeOf(client: ObjectClient): RemoteLocation {
  return remoteLocation('s3://bucket/store', async ({ readOnly }) => objectStorage({ client, readOnly }))
}

interface Machine {
  directory: string
  maxBytes?: number
  maxAgeMs?: number
}

/** A new process, as far as it can be told. */
async function process1(server: SimulatedObjects, options: Machine, client = server.client()): Promise<Store> {
  const store = await openStore(cached(placeOf(client), options), { keepLast: 5 })
  onTestFinished(() => store.close())
  return store
}

async function filled(bytes = 3 * MIB): Promise<SimulatedObjects> {
  const server = simulatedObjects()
  const store = await openStore(placeOf(server.client()), { keepLast: 5 })
  await store.persist({ blobs: { large: noise(bytes, 1) } })
  await store.close()
  return server
}

async function read(store: Store, bytes = 3 * MIB): Promise<void> {
  const snapshot = (await store.load())!
  expect(Buffer.compare(await snapshot.blob('large').bytes(), noise(bytes, 1))).toBe(0)
  await snapshot.dispose()
}

/** Requests that `work` makes, of names only the folder. */
async function counted(server: SimulatedObjects, work: () => Promise<unknown>): Promise<string[]> {
  server.log.length = 0
  await work()
  return server.log.map((line) => line.replace(/(packs|heads)\/.*/, '$1'))
}

/** The files of the only store in a cache. */
function filesIn(directory: string): string[] {
  const [store] = readdirSync(directory)
  return readdirSync(join(directory, store!)).map((name) => join(directory, store!, name))
}

function segmentsIn(directory: string): string[] {
  return filesIn(directory).filter((path) => !path.endsWith('HEAD'))
}

/** A client whose requests fail while `error` is set. */
function failing(client: ObjectClient): { client: ObjectClient; state: { error: ObjectError | null } } {
  const state = { error: null as ObjectError | null }
  const wrapped = Object.fromEntries(
    Object.entries(client).map(([name, value]) => [
      name,
      typeof value === 'function'
        ? (...args: unknown[]) => {
            if (state.error !== null) return Promise.reject(state.error)
            return (value as (...args: unknown[]) => unknown)(...args)
          }
        : value,
    ]),
  ) as unknown as ObjectClient
  return { client: wrapped, state }
}

const AWAY = new ObjectError('refused', 0, 'ECONNREFUSED')

test('what was read once is read from the directory by the next process', async () => {
  const server = await filled()
  const directory = scratch()
  const first = await counted(server, async () => await read(await process1(server, { directory })))
  // HEAD, and the segments of two packs in runs.
  expect(first.filter((line) => line === 'get packs').length).toBeLessThan(6)
  expect(await counted(server, async () => await read(await process1(server, { directory })))).toEqual([
    'get HEAD.json',
  ])
})

test('a file of the cache that is damaged, cut short or empty is fetched again', async () => {
  const server = await filled()
  const directory = scratch()
  await read(await process1(server, { directory }))
  const files = segmentsIn(directory)
  expect(files.length).toBeGreaterThan(3)
  const damages: ((path: string) => void)[] = [
    (path) => {
      const bytes = readFileSync(path)
      bytes[bytes.length >> 1]! ^= 1
      writeFileSync(path, bytes)
    },
    (path) => truncateSync(path, statSync(path).size - 1),
    (path) => truncateSync(path, 0),
    (path) => truncateSync(path, 32),
  ]
  for (const damage of damages) {
    for (const path of files) damage(path)
    await read(await process1(server, { directory }))
    expect(await counted(server, async () => await read(await process1(server, { directory })))).toEqual([
      'get HEAD.json',
    ])
  }
})

test('a cached HEAD that is damaged is no HEAD', async () => {
  const server = await filled()
  const directory = scratch()
  await read(await process1(server, { directory }))
  const head = filesIn(directory).find((path) => path.endsWith('HEAD'))!
  truncateSync(head, 100)
  const { client, state } = failing(server.client())
  state.error = AWAY
  await rejects((await process1(server, { directory }, client)).load(), 'IO_FAILED')
})

describe('while the server is away', () => {
  test.each([
    ['no connection', AWAY],
    ['no answer', new ObjectError('no answer for 30 ms', 0, 'NoAnswer')],
    ['500', new ObjectError('', 500, 'InternalError')],
    ['503', new ObjectError('', 503, 'SlowDown')],
  ])('(%s) the newest snapshot that was seen is served, and says so', async (_name, error) => {
    const server = await filled()
    const directory = scratch()
    const before = Date.now()
    await read(await process1(server, { directory }))
    const { client, state } = failing(server.client())
    state.error = error
    const store = await process1(server, { directory }, client)
    const snapshot = (await store.load())!
    expect(snapshot.offline!.error.code).toBe('IO_FAILED')
    expect(snapshot.offline!.since.getTime()).toBeGreaterThanOrEqual(before - 10)
    expect((await snapshot.blob('large').bytes()).length).toBe(3 * MIB)
    await snapshot.dispose()
    // A write is acknowledged by the server alone.
    await rejects(store.persist({ blobs: { large: noise(10, 2) } }), 'IO_FAILED')
    state.error = null
    const online = (await store.load())!
    expect(online.offline).toBe(null)
    await online.dispose()
  })

  test.each([
    ['401', new ObjectError('', 401, 'Unauthorized')],
    ['403', new ObjectError('', 403, 'AccessDenied')],
    ['no bucket', new ObjectError('', 404, 'NoSuchBucket')],
    ['501', new ObjectError('', 501, 'NotImplemented')],
    ['a certificate', new ObjectError('', 0, 'CERT_HAS_EXPIRED')],
    ['another certificate', new ObjectError('', 0, 'DEPTH_ZERO_SELF_SIGNED_CERT')],
    ['a host of another name', new ObjectError('', 0, 'ERR_TLS_CERT_ALTNAME_INVALID')],
  ])('%s is an error, and no reason to serve the cache', async (_name, error) => {
    const server = await filled()
    const directory = scratch()
    await read(await process1(server, { directory }))
    const { client, state } = failing(server.client())
    state.error = error
    await rejects((await process1(server, { directory }, client)).load(), 'IO_FAILED')
  })

  test('what is older than maxAgeMs is not served', async () => {
    const server = await filled()
    const directory = scratch()
    await read(await process1(server, { directory }))
    const head = filesIn(directory).find((path) => path.endsWith('HEAD'))!
    const { client, state } = failing(server.client())
    state.error = AWAY
    const open = (): Promise<Store> => process1(server, { directory, maxAgeMs: 60_000 }, client)
    expect((await (await open()).load())!.offline).not.toBe(null)
    utimesSync(head, new Date(), new Date(Date.now() - 61_000))
    await rejects((await open()).load(), 'IO_FAILED')
    // Seen again, it is young again.
    state.error = null
    await (await (await open()).load())!.dispose()
    state.error = AWAY
    expect((await (await open()).load())!.offline).not.toBe(null)
  })

  test('what was never read is missing, and said to be unreachable', async () => {
    const server = await filled()
    const directory = scratch()
    expect(await (await process1(server, { directory })).snapshots()).toHaveLength(1)
    const { client, state } = failing(server.client())
    state.error = AWAY
    await rejects((await process1(server, { directory }, client)).load(), 'IO_FAILED')
  })
})

describe('HEAD', () => {
  test('never goes back: an old one is read again, and then STORE_ROLLED_BACK', async () => {
    const server = await filled()
    const directory = scratch()
    const old = server.objects.get('HEAD.json')!
    const writer = await openStore(placeOf(server.client()))
    await writer.persist({ blobs: { large: noise(10, 2) } })
    const now = server.objects.get('HEAD.json')!
    await (await process1(server, { directory })).snapshots()
    server.objects.set('HEAD.json', old)
    await rejects((await process1(server, { directory })).snapshots(), 'STORE_ROLLED_BACK')
    // For a moment, as a cache on the way does.
    const real = server.client()
    let reads = 0
    const stale: ObjectClient = {
      ...real,
      async get(key, options) {
        if (key === 'HEAD.json' && ++reads > 2) server.objects.set('HEAD.json', now)
        return await real.get(key, options)
      },
    }
    expect(await (await process1(server, { directory }, stale)).snapshots()).toHaveLength(2)
    await writer.close()
  })

  test('of another history than the one that was seen is HEAD_FORKED', async () => {
    const server = await filled()
    const directory = scratch()
    const base = server.objects.get('HEAD.json')!
    const writer = await openStore(placeOf(server.client()))
    await writer.persist({ blobs: { large: noise(10, 2) } })
    await (await process1(server, { directory })).snapshots()
    // Another writer went on from the HEAD before.
    server.objects.set('HEAD.json', base)
    for (const key of server.objects.keys()) if (key.startsWith('heads/')) server.objects.delete(key)
    const other = await openStore(placeOf(server.client()))
    for (const seed of [3, 4]) await other.persist({ blobs: { large: noise(10, seed) } })
    await rejects((await process1(server, { directory })).snapshots(), 'HEAD_FORKED')
    await writer.close()
    await other.close()
  })

  test('of another store at the same place begins a new cache', async () => {
    const server = await filled()
    const directory = scratch()
    await read(await process1(server, { directory }))
    server.objects.clear()
    const writer = await openStore(placeOf(server.client()))
    await writer.persist({ blobs: { large: noise(10, 2) } })
    expect(await (await process1(server, { directory })).snapshots()).toHaveLength(1)
    await writer.close()
  })
})

test('a full disk under the cache is no error', async (context) => {
  const directory = mountTmpfs(context, 'size=2m')
  const server = await filled(6 * MIB)
  for (let i = 0; i < 2; i++) await read(await process1(server, { directory }), 6 * MIB)
  expect(filesIn(directory).some((path) => path.endsWith('.tmp'))).toBe(false)
})

test('a directory that cannot be made is no error', async () => {
  const file = join(scratch(), 'file')
  writeFileSync(file, '')
  await read(await process1(await filled(), { directory: join(file, 'cache') }))
})

describe('the limit', () => {
  const maxBytes = 16 * MIB

  function bytesIn(directory: string): number {
    return filesIn(directory).reduce((sum, path) => sum + statSync(path).size, 0)
  }

  async function withBlobs(count: number): Promise<SimulatedObjects> {
    const server = simulatedObjects()
    const store = await openStore(placeOf(server.client()), { keepLast: 10 })
    // Each in a pack of its own.
    for (let i = 0; i < count; i++) {
      await store.persist({ blobs: Object.fromEntries([[`blob ${i}`, noise(8 * MIB, 10 + i)]]), message: String(i) })
    }
    await store.close()
    return server
  }

  async function readAt(store: Store, at: number): Promise<void> {
    const snapshot = (await store.load({ at }))!
    await snapshot.blob(`blob ${at - 1}`).bytes()
    await snapshot.dispose()
  }

  test('holds: what was not used for longest goes', async () => {
    const server = await withBlobs(3)
    const directory = scratch()
    const store = await process1(server, { directory, maxBytes })
    for (const at of [1, 2, 3]) {
      await readAt(store, at)
      // Their times are compared.
      await realSleep(20)
    }
    expect(bytesIn(directory)).toBeLessThan(1.1 * maxBytes)
    const again = await process1(server, { directory, maxBytes })
    expect((await counted(server, () => readAt(again, 3))).filter((line) => line === 'get packs')).toEqual([])
    expect((await counted(server, () => readAt(again, 1))).filter((line) => line === 'get packs')).not.toEqual([])
  })

  test('takes nothing of what is open', async () => {
    const server = await withBlobs(3)
    const directory = scratch()
    const { client, state } = failing(server.client())
    const store = await process1(server, { directory, maxBytes }, client)
    const held = (await store.load({ at: 1 }))!
    const first = await held.blob('blob 0').bytes()
    for (const at of [2, 3]) await readAt(store, at)
    expect(bytesIn(directory)).toBeLessThan(1.1 * maxBytes)
    state.error = AWAY
    expect(Buffer.compare(await held.blob('blob 0').bytes(), first)).toBe(0)
    await held.dispose()
  })

  test('is kept by leaving out what does not fit beside what is open', async () => {
    const server = await withBlobs(4)
    const directory = scratch()
    const store = await process1(server, { directory, maxBytes })
    const open = []
    for (const at of [1, 2, 3, 4]) {
      const snapshot = (await store.load({ at }))!
      open.push(snapshot)
      expect((await snapshot.blob(`blob ${at - 1}`).bytes()).length).toBe(8 * MIB)
    }
    expect(bytesIn(directory)).toBeLessThan(1.2 * maxBytes)
    for (const snapshot of open) await snapshot.dispose()
  })

  test('files that a dead process was writing go when they are old', async () => {
    const server = await withBlobs(2)
    const directory = scratch()
    await readAt(await process1(server, { directory, maxBytes }), 1)
    const [store] = readdirSync(directory)
    const left = ['old.tmp', 'young.tmp'].map((name) => join(directory, store!, name))
    for (const path of left) writeFileSync(path, 'x')
    const longAgo = new Date(Date.now() - 2 * 60 * 60 * 1000)
    utimesSync(left[0]!, longAgo, longAgo)
    await readAt(await process1(server, { directory, maxBytes }), 2)
    expect(left.map((path) => existsSync(path))).toEqual([false, true])
  })
})

describe('processes', () => {
  const script = `
    import { cached, openStore } from ${JSON.stringify(fileURLToPath(new URL('../../dist/index.js', import.meta.url)))}
    import ${JSON.stringify(fileURLToPath(new URL('../../dist/s3/s3.js', import.meta.url)))}
    import { createHash } from 'node:crypto'
    const [directory, rounds] = process.argv.slice(1)
    for (let i = 0; i < Number(rounds); i++) {
      const store = await openStore(cached('s3://bucket/store', { directory, maxBytes: 16 * 1024 * 1024 }))
      const snapshot = await store.load()
      const sums = []
      for (const name of snapshot.names) sums.push(createHash('md5').update(await snapshot.blob(name).bytes()).digest('hex'))
      await snapshot.dispose()
      await store.close()
      console.log(sums.join(' '))
    }`
  const args = (directory: string, rounds: number): string[] => [
    '--input-type=module',
    '-e',
    script,
    directory,
    String(rounds),
  ]

  async function served(): Promise<Awaited<ReturnType<typeof httpObjects>>> {
    const server = await httpObjects()
    const { s3 } = await import('../../src/s3/s3.ts')
    const credentials = { accessKeyId: 'testaccess', secretAccessKey: 'x' }
    const store = await openStore(s3({ bucket: 'bucket', prefix: 'store', endpoint: server.endpoint, credentials }))
    await store.persist({ blobs: { a: noise(10 * MIB, 1), b: noise(10 * MIB, 2) } })
    await store.close()
    return server
  }

  test('that are killed while they fill the cache leave one that gives the right bytes', async () => {
    const server = await served()
    const directory = scratch()
    const env = { ...process.env, ...server.env }
    const outputOf = async (at: string, rounds: number): Promise<string> =>
      (await promisify(execFile)(process.execPath, args(at, rounds), { env })).stdout
    const right = await outputOf(scratch(), 1)
    for (const afterMs of [150, 250, 350, 450]) {
      const child = spawn(process.execPath, args(directory, 50), { env, stdio: 'ignore' })
      await sleep(afterMs)
      child.kill('SIGKILL')
      await once(child, 'close')
    }
    expect(await outputOf(directory, 2)).toBe(right.repeat(2))
  })

  test('two at a time share a cache that is too small for what they read', async () => {
    const server = await served()
    const directory = scratch()
    const env = { ...process.env, ...server.env }
    const outputs = [1, 2].map(async () => {
      const child = spawn(process.execPath, args(directory, 4), { env, stdio: ['ignore', 'pipe', 'inherit'] })
      let text = ''
      for await (const part of child.stdout!) text += part
      return text.trim().split('\n')
    })
    const lines = (await Promise.all(outputs)).flat()
    expect(lines).toHaveLength(8)
    expect(new Set(lines).size).toBe(1)
    expect(filesIn(directory).reduce((sum, path) => sum + statSync(path).size, 0)).toBeLessThan(1.2 * 16 * MIB)
    rmSync(directory, { recursive: true })
  })
})

test('a follower goes on with what it has, and takes the next snapshot when the server is back', async () => {
  const server = await filled()
  const { client, state } = failing(server.client())
  const store = await process1(server, { directory: scratch() }, client)
  await read(store)
  state.error = AWAY
  const { follow } = await import('../../src/load/follow.ts')
  const seen: (number | null)[] = []
  for await (const snapshot of follow(store, { everyMs: 1 })) {
    seen.push(snapshot.sequence)
    await snapshot.dispose()
    if (seen.length === 2) break
    state.error = null
    const writer = await openStore(placeOf(server.client()))
    await writer.persist({ blobs: { large: noise(10, 2) } })
    await writer.close()
  }
  expect(seen).toEqual([1, 2])
})

test('it refuses what is no place in a bucket', () => {
  expect(() => cached('/a/directory', { directory: '/tmp/x' })).toThrow(TypeError)
  expect(() => cached(placeOf(simulatedObjects().client()), {} as never)).toThrow(TypeError)
  const place = placeOf(simulatedObjects().client())
  expect(() => cached(place, { directory: '/tmp/x', maxBytes: 5 })).toThrow(RangeError)
  expect(() => cached(place, { directory: '/tmp/x', maxAgeMs: -1 })).toThrow(TypeError)
})
