import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Progress } from '../../src/progress.ts'
import { noise } from '../support/bytes.ts'
import { type Child, start } from '../support/processes.ts'
import { scratch } from '../support/scratch.ts'
import { loadContents, storeAt } from '../support/store-directory.ts'

const child = (path: string, ...args: string[]): Child => start(new URL('child.mjs', import.meta.url), path, ...args)

/** A store with one snapshot, and a process that holds its writer lock. */
async function held(): Promise<{ path: string; holder: Child }> {
  const path = join(scratch(), 'store')
  await using store = storeAt(path)
  await store.persist({ blobs: { who: 'the test' } })
  const holder = child(path, 'hold')
  expect(await holder.hear()).toBe('holding')
  return { path, holder }
}

test('two processes that write at the same time lose nothing, and their snapshots follow one another', async () => {
  const path = join(scratch(), 'store')
  const names = ['ann', 'bob']
  const each = 25
  const writers = names.map((name) => child(path, 'many', name, String(each)))
  for (const writer of writers) expect(await writer.hear()).toBe('ready')
  for (const writer of writers) writer.say('go')
  for (const writer of writers) await writer.end()
  const acknowledged = writers.map((writer) => writer.said().map(Number))

  await using store = storeAt(path)
  const history = (await store.snapshots()).reverse()
  expect(history.map(({ sequence }) => sequence)).toEqual(Array.from({ length: 2 * each }, (_, i) => i + 1))
  for (const [i, name] of names.entries()) {
    const mine = history.filter(({ message }) => message?.startsWith(name))
    expect(mine.map(({ message }) => message)).toEqual(Array.from({ length: each }, (_, n) => `${name} ${n + 1}`))
    expect(mine.map(({ sequence }) => sequence)).toEqual(acknowledged[i])
    for (const { sequence, message } of mine) {
      await using snapshot = (await store.load({ at: sequence }))!
      expect(await snapshot.blob('who').text()).toBe(message)
    }
  }
})

test('a writer waits for another process to finish, and builds on what that one wrote', async () => {
  const { path, holder } = await held()
  await using store = storeAt(path)
  const progress: Progress[] = []
  const persisting = store.persist({ blobs: { who: 'the waiter' }, onProgress: (p) => void progress.push(p) })
  await expect.poll(() => progress.length).toBeGreaterThan(2)
  expect(progress.every(({ phase }) => phase === 'waiting')).toBe(true)
  holder.say('finish')
  expect((await persisting).sequence).toBe(3)
  expect(await holder.hear()).toBe('2')
  expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([3, 2, 1])
  await using other = (await store.load({ at: 2 }))!
  expect(await other.blob('who').text()).toBe('from the child')
})

test('a writer that waits too long says STORE_LOCKED and who holds the lock', async () => {
  const { path, holder } = await held()
  await using store = storeAt(path)
  for (const lockWaitMs of [0, 200]) {
    const error = await store.persist({ blobs: { who: 'nobody' }, lockWaitMs }).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({
      code: 'STORE_LOCKED',
      kind: 'busy',
      message: expect.stringContaining(`pid ${holder.pid} on `),
      details: { holder: expect.stringContaining(`pid ${holder.pid} `) },
    })
    expect((error as { details: { waitedMs: number } }).details.waitedMs).toBeGreaterThanOrEqual(lockWaitMs)
  }
  // Reading needs no lock.
  expect((await loadContents(path))?.sequence).toBe(1)
})

test('a writer that waits can be aborted, and leaves the lock to the others', async () => {
  const { path, holder } = await held()
  await using store = storeAt(path)
  const controller = new AbortController()
  const reason = new Error('no more patience')
  const waiting = store.persist({
    blobs: { who: 'nobody' },
    signal: controller.signal,
    onProgress: ({ phase }) => {
      if (phase === 'waiting') controller.abort(reason)
    },
  })
  await expect(waiting).rejects.toBe(reason)
  holder.say('finish')
  expect(await holder.hear()).toBe('2')
  expect(await store.persist({ blobs: { who: 'the next' } })).toMatchObject({ sequence: 3 })
})

test('a writer that dies holding the lock holds up nobody', async () => {
  const { path, holder } = await held()
  await holder.kill()
  await using store = storeAt(path)
  expect(await store.persist({ blobs: { who: 'the next' }, lockWaitMs: 0 })).toMatchObject({ sequence: 2 })
})

test('a writer that dies while another waits gives way to it', async () => {
  const { path, holder } = await held()
  await using store = storeAt(path)
  const persisting = store.persist({ blobs: { who: 'the waiter' } })
  await holder.kill()
  expect((await persisting).sequence).toBe(2)
})

test('only one of two processes that expect the same head gets through', async () => {
  const { path, holder } = await held()
  await using store = storeAt(path)
  const persisting = store.persist({ blobs: { who: noise(100, 1) }, expectedHead: 1 })
  holder.say('finish')
  await expect(persisting).rejects.toMatchObject({ code: 'HEAD_CONFLICT', details: { expected: 1, current: 2 } })
  expect((await loadContents(path))?.sequence).toBe(2)
})
