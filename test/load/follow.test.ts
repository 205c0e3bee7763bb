import { describe, expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { follow } from '../../src/load/follow.ts'
import { localScratch } from '../../src/local/local.ts'
import { type ObjectClient, ObjectError } from '../../src/storage/object/client.ts'
import { objectStorage } from '../../src/storage/object/storage.ts'
import { createStore, type Store } from '../../src/store.ts'
import { simulatedObjects } from '../support/simulated-objects.ts'
import { kinds } from '../support/storages.ts'

async function persist(store: Store, text: string): Promise<void> {
  await store.persist({ blobs: { a: Buffer.from(text) } })
}

describe.each(kinds)('following a $name store', ({ open }) => {
  test('gives the current snapshot first, and then each that becomes current', async () => {
    const store = await open({ keep: { last: 10 } })
    for (const text of ['one', 'two']) await persist(store, text)
    const texts: string[] = []
    const controller = new AbortController()
    const following = follow(store, { everyMs: 1, signal: controller.signal })
    expect(following).toMatchObject({ sequence: null, lastError: null })
    for await (const snapshot of following) {
      texts.push(await snapshot.blob('a').text())
      await snapshot.dispose()
      expect(following.sequence).toBe(snapshot.sequence)
      if (texts.length === 1) await persist(store, 'three')
      // Both come before the next look: the first of them is skipped.
      if (texts.length === 2) for (const text of ['four', 'five']) await persist(store, text)
      if (texts.length === 3) await store.rollback(1)
      if (texts.length === 4) controller.abort()
    }
    expect(texts).toEqual(['two', 'three', 'five', 'one'])
    expect(following.lagMs).toBeLessThan(10_000)
  })

  test('waits for the first snapshot', async () => {
    const store = await open()
    const first = follow(store, { everyMs: 1 })[Symbol.asyncIterator]().next()
    await new Promise((resolve) => setTimeout(resolve, 20))
    await persist(store, 'one')
    const { value } = await first
    expect(await value!.blob('a').text()).toBe('one')
    await value!.dispose()
  })
})

describe('following an object store', () => {
  function storeOn(client: ObjectClient): Store {
    const storage = objectStorage({ client, trusted: 'quoted' })
    return createStore({
      storage,
      fs: nodeFileSystem,
      local: localScratch(nodeFileSystem),
      journal: null,
      storageAt: null,
    })
  }

  test('is one small request while nothing is new', async () => {
    const server = simulatedObjects()
    await persist(storeOn(server.client()), 'one')
    const controller = new AbortController()
    const following = follow(storeOn(server.client()), { everyMs: 1, signal: controller.signal })
    for await (const snapshot of following) {
      await snapshot.dispose()
      server.log.length = 0
      setTimeout(() => controller.abort(), 30)
    }
    expect(new Set(server.log)).toEqual(new Set(['get HEAD.json']))
  })

  test('goes on when the server is back, and says what was wrong', async () => {
    const server = simulatedObjects()
    const writer = storeOn(server.client())
    await persist(writer, 'one')
    const real = server.client()
    let isDown = false
    const reader = storeOn({
      ...real,
      get: (key, options) => (isDown ? Promise.reject(new ObjectError('', 403, 'Expired')) : real.get(key, options)),
    })
    const following = follow(reader, { everyMs: 1 })
    const iterator = following[Symbol.asyncIterator]()
    await (await iterator.next()).value!.dispose()
    isDown = true
    const next = iterator.next()
    while (following.lastError === null) await new Promise((resolve) => setTimeout(resolve, 5))
    expect(following.lastError).toMatchObject({ code: 'IO_FAILED' })
    await persist(writer, 'two')
    isDown = false
    const { value } = await next
    expect(following.lastError).toBe(null)
    expect(await value!.blob('a').text()).toBe('two')
    await value!.dispose()
  })

  test('ends with an error that does not pass', async () => {
    const server = simulatedObjects()
    await persist(storeOn(server.client()), 'one')
    const reader = storeOn(server.client())
    await reader.close()
    await expect(follow(reader)[Symbol.asyncIterator]().next()).rejects.toMatchObject({ code: 'STORE_CLOSED' })
  })
})
