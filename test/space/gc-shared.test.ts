import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { clock } from '../../src/clock.ts'
import type { Head } from '../../src/format/head.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { createReach, type Reach } from '../../src/gc/reach.ts'
import { nextHead } from '../../src/history/next-head.ts'
import { localScratch } from '../../src/local/local.ts'
import { collectShared } from '../../src/space/gc-shared.ts'
import type { ObjectClient } from '../../src/storage/object/client.ts'
import { objectStorage } from '../../src/storage/object/storage.ts'
import { createStore, type Store } from '../../src/store.ts'
import { noise } from '../support/bytes.ts'
import { failure } from '../support/rejects.ts'
import { type SimulatedObjects, simulatedObjects } from '../support/simulated-objects.ts'
import { contextOver } from '../support/store-over.ts'

// What `gc` rewrites where there are other writers. What many of them do to each other is in
// test/explore/object-histories.test.ts.

// Other files share the clock: it is put back.
const { sleep } = clock
beforeAll(() => {
  clock.sleep = async () => undefined
})
afterAll(() => {
  clock.sleep = sleep
})

const a = noise(400_000, 1)
const b = noise(400_000, 2)

function storeOn(client: ObjectClient): Store {
  const place = { fs: nodeFileSystem, local: localScratch(nodeFileSystem), journal: null, storageAt: null }
  return createStore({ ...place, storage: objectStorage({ client, trusted: 'quoted' }) }, { compression: 'none' })
}

function headOn(server: SimulatedObjects): Head {
  return JSON.parse(Buffer.from(server.objects.get('HEAD.json')!.bytes).toString())
}

/** A store whose only snapshot needs half of the pack `half`. */
async function halfEmpty(): Promise<{ server: SimulatedObjects; half: string }> {
  const server = simulatedObjects()
  const store = storeOn(server.client())
  await store.persist({ blobs: { a, b } })
  await store.persist({ blobs: { a } })
  await store.forget(1)
  await store.close()
  const half = headOn(server).packs.find(({ bytes }) => bytes > a.length + b.length)!
  return { server, half: half.key! }
}

function keys(server: SimulatedObjects): string[] {
  return headOn(server).packs.map(({ key }) => key!)
}

/** A client that does something else first, once, when a pack is uploaded. */
function interrupted(client: ObjectClient, meanwhile: () => Promise<unknown>): ObjectClient {
  let isDone = false
  return {
    ...client,
    async put(key, bytes, options) {
      if (key.startsWith('packs/') && !isDone) {
        isDone = true
        await meanwhile()
      }
      return await client.put(key, bytes, options)
    },
  }
}

async function assertHolds(server: SimulatedObjects, blobs: Record<string, Uint8Array>): Promise<void> {
  const store = storeOn(server.client())
  await using snapshot = (await store.load())!
  expect([...snapshot.names]).toEqual(Object.keys(blobs))
  for (const [name, bytes] of Object.entries(blobs)) {
    expect(Buffer.compare(await snapshot.blob(name).bytes(), bytes)).toBe(0)
  }
}

describe('a pack that is mostly garbage', () => {
  test('is rewritten, and deleted when readers had their grace', async () => {
    const { server, half } = await halfEmpty()
    const store = storeOn(server.client())
    const reader = storeOn(server.client())
    const old = (await reader.load())!
    const rewritten = await store.gc()
    expect(rewritten).toMatchObject({ done: false, packs: [{ action: 'rewrite' }] })
    expect(rewritten.movedBytes).toBeGreaterThanOrEqual(a.length)
    expect(rewritten.movedBytes).toBeLessThan(1.1 * a.length)
    expect(keys(server)).not.toContain(half)
    expect(server.objects.has(`packs/${half}`)).toBe(true)
    // Who has begun to read goes on.
    expect(Buffer.compare(await old.blob('a').bytes(), a)).toBe(0)
    await old.dispose()

    await store.tag('next')
    const collected = await store.gc({ graceMs: 0 })
    expect(collected).toMatchObject({ done: true, deadBytes: 0, packs: [] })
    expect(collected.freedBytes).toBeGreaterThan(a.length + b.length)
    expect(server.objects.has(`packs/${half}`)).toBe(false)
    await assertHolds(server, { a })
    expect(await store.verify()).toMatchObject({ ok: true })
    await store.close()
  })

  test('stays when a snapshot that was committed meanwhile reuses its garbage', async () => {
    const { server, half } = await halfEmpty()
    const other = storeOn(server.client())
    const client = interrupted(server.client(), () => other.persist({ blobs: { a, b } }))
    const store = storeOn(client)
    expect(await store.gc()).toMatchObject({ packs: [] })
    expect(keys(server)).toContain(half)
    await assertHolds(server, { a, b })
    await store.close()
    await other.close()
  })

  test('is rewritten from the HEAD of a writer that was faster and does not need it', async () => {
    const { server, half } = await halfEmpty()
    const other = storeOn(server.client())
    const store = storeOn(interrupted(server.client(), () => other.tag('v1', { at: 2 })))
    expect(await store.gc()).toMatchObject({ packs: [{ action: 'rewrite' }] })
    expect(keys(server)).not.toContain(half)
    expect(headOn(server).snapshots[0]!.tags).toEqual(['v1'])
    await assertHolds(server, { a })
    await store.close()
    await other.close()
  })

  test('is copied again when the floor has overtaken the copy', async () => {
    const { server, half } = await halfEmpty()
    const storage = objectStorage({ client: server.client(), trusted: 'quoted' })
    const raise = (): Promise<unknown> =>
      storage.write({ waitMs: 1_000 }, (session) =>
        session.swapHead(({ head }) => nextHead(head, { floor: head.revision + 1 })),
      )
    const store = storeOn(interrupted(server.client(), raise))
    expect(await store.gc()).toMatchObject({ packs: [{ action: 'rewrite' }] })
    const { floor, packs } = headOn(server)
    const now = packs.map(({ key }) => key!)
    expect(now).not.toContain(half)
    expect(Math.max(...now.map((key) => Number.parseInt(key.slice(0, 16), 16)))).toBeGreaterThan(floor!)
    await assertHolds(server, { a })
    await store.close()
  })

  test('stays as evidence when it has a bad block', async () => {
    const { server, half } = await halfEmpty()
    const object = server.objects.get(`packs/${half}`)!
    const bytes = new Uint8Array(object.bytes)
    bytes[Buffer.from(bytes).indexOf(a.subarray(200_000, 200_032)) + 7]! ^= 1
    server.objects.set(`packs/${half}`, { ...object, bytes })
    const store = storeOn(server.client())
    expect(await store.gc()).toMatchObject({ packs: [], movedBytes: 0 })
    expect(keys(server)).toContain(half)
    await store.close()
  })

  test('is not given up when its copy lacks what a snapshot needs', async () => {
    const { server, half } = await halfEmpty()
    const ctx = contextOver(objectStorage({ client: server.client(), trusted: 'quoted' }))
    const reach = createReach(ctx.links)
    // Marks that are wrong: a chunk is said not to be needed.
    const wrong: Reach = {
      ...reach,
      async sync(...args) {
        await reach.sync(...args)
        for (const { name } of args[0].packs) {
          const order = reach.pack(name)!.order
          const last = order.reduce((latest, place, entry) => (place > order[latest]! ? entry : latest), 0)
          if (order.length > 8) order[last] = 0
        }
      },
    }
    const settings = { lockWaitMs: 1_000, packBytesMax: 2 ** 28 }
    await collectShared(ctx, wrong, { signal: new AbortController().signal }, settings)
    expect(keys(server)).toContain(half)
    await assertHolds(server, { a })
  })
})

test('a dry run answers what the same call does, and changes nothing', async () => {
  const { server } = await halfEmpty()
  const store = storeOn(server.client())
  await server.client().put('packs/0000000000000001-0123456789abcdef0123456789abcdef', noise(5_000, 3))
  for (const options of [{ budgetBytes: 0 }, {}, { graceMs: 0 }, {}]) {
    const before = new Map(server.objects)
    const dry = await store.gc({ ...options, dryRun: true })
    expect([...server.objects]).toEqual([...before])
    expect(await store.gc(options)).toEqual(dry)
    await store.tag('next')
    await store.untag('next')
  }
  await store.close()
})

test('a budget ends a collection, and the next one goes on', async () => {
  const server = simulatedObjects()
  const store = storeOn(server.client())
  const others = Array.from({ length: 3 }, (_, i) => noise(300_000, 10 + i))
  const kept = Array.from({ length: 3 }, (_, i) => noise(200_000, 20 + i))
  for (let i = 0; i < 3; i++) await store.persist({ blobs: { other: others[i]!, ...blobsOf(kept.slice(0, i + 1)) } })
  await store.persist({ blobs: blobsOf(kept) })
  await store.forget([2, 3])
  expect(await store.gc({ budgetBytes: 0 })).toMatchObject({ done: false, packs: { length: 1 } })
  expect(await store.gc({ budgetMs: 0 })).toMatchObject({ done: false, packs: { length: expect.any(Number) } })
  for (let i = 0; i < 3; i++) await store.gc()
  expect(await store.gc()).toMatchObject({ packs: [] })
  await assertHolds(server, blobsOf(kept))
  expect(await failure(store.gc({ complete: true }))).toBeInstanceOf(TypeError)
  await store.close()

  function blobsOf(all: readonly Uint8Array[]): Record<string, Uint8Array> {
    return Object.fromEntries(all.map((bytes, i) => [`kept ${i}`, bytes]))
  }
})
