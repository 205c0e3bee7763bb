import { expect, test } from 'vitest'
import { persistEngine } from '../../src/engines/adapter.ts'
import { followEngine } from '../../src/engines/follow.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { objectStorage } from '../../src/storage/object/storage.ts'
import type { Store } from '../../src/store.ts'
import { simulatedObjects } from '../support/simulated-objects.ts'
import { storeOver } from '../support/store-over.ts'
import { type Counter, counter } from './counter.ts'

/** Two machines with one bucket. */
function machines(): Store[] {
  const server = simulatedObjects()
  return [1, 2].map(() => storeOver(objectStorage({ client: server.client(), trusted: 'quoted' }), nodeFileSystem))
}

test('an engine is swapped while it is asked, and no question fails', async () => {
  const [builder, server] = machines() as [Store, Store]
  await persistEngine(builder, counter, { count: 1 })
  const controller = new AbortController()
  let serving: Counter | null = null
  const seen: number[] = []
  const following = followEngine(server, counter, {
    everyMs: 1,
    signal: controller.signal,
    async swap({ engine, dispose }) {
      serving = engine
      seen.push(engine.count)
      await dispose()
      if (engine.count === 5) controller.abort()
    },
  })
  while (serving === null) await new Promise((resolve) => setTimeout(resolve, 1))
  for (let count = 2; count <= 5; count++) {
    await persistEngine(builder, counter, { count })
    // Asked all the time: there is always a whole engine.
    for (let asked = 0; asked < 20; asked++) {
      expect((serving as Counter).count).toBeGreaterThanOrEqual(1)
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  await following
  expect((serving as Counter).count).toBe(5)
  expect(seen).toEqual(seen.toSorted((a, b) => a - b))
})

test('a snapshot that cannot be restored is told, and what is served stays', async () => {
  const [builder, server] = machines() as [Store, Store]
  await persistEngine(builder, counter, { count: 1 })
  const controller = new AbortController()
  const seen: number[] = []
  const errors: unknown[] = []
  await followEngine(server, counter, {
    everyMs: 1,
    signal: controller.signal,
    onError: (error) => errors.push(error),
    async swap({ engine, dispose }) {
      seen.push(engine.count)
      await dispose()
      if (seen.length === 2) controller.abort()
      else {
        await persistEngine(builder, { ...counter, name: 'another' }, { count: 7 })
        setTimeout(() => void persistEngine(builder, counter, { count: 2 }), 50)
      }
    },
  })
  expect(seen).toEqual([1, 2])
  expect(errors).toMatchObject([{ code: 'ENGINE_MISMATCH' }])
})

test('what swap throws ends it', async () => {
  const [builder, server] = machines() as [Store, Store]
  await persistEngine(builder, counter, { count: 1 })
  const reason = new Error('swap')
  const swap = async (): Promise<void> => {
    throw reason
  }
  await expect(followEngine(server, counter, { swap })).rejects.toBe(reason)
  await expect(followEngine(server, counter, {} as never)).rejects.toThrow(TypeError)
})
