import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Head } from '../../src/format/head.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { nextHead } from '../../src/history/next-head.ts'
import { settleHead } from '../../src/history/settle-head.ts'
import { quickScratch } from '../support/scratch.ts'
import { directoryAt } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'

test('without HEAD.prev.json a persist writes a HEAD before it writes packs, so that a crash between them is no rollback', async () => {
  const path = join(quickScratch(), 'store')
  const inner = directoryAt(path)
  await using store = storeOver(inner, nodeFileSystem)
  await store.persist({ blobs: { a: 'one' } })
  rmSync(join(path, 'HEAD.prev.json'))
  // The writer dies when its pack is in place, and before HEAD names it.
  const dying = storeOver(
    {
      ...inner,
      write: (options, task) =>
        inner.write(options, async (session) =>
          task(
            Object.create(session, {
              swapHead: {
                async value(next: Head, ready?: () => Promise<unknown>) {
                  if (next.sequence === session.stored!.head.sequence) return await session.swapHead(next, ready)
                  await ready?.()
                  await new Promise(() => undefined)
                },
              },
            }),
          ),
        ),
    },
    nodeFileSystem,
  )
  void dying.persist({ blobs: { a: 'two' } })
  await expect.poll(async () => (await inner.inspect()).packs.length).toBe(2)
  // The lock is still held by the writer that never ends, so another process would have to do this. A copy stands for
  // it.
  const copy = join(quickScratch(), 'copy')
  await (await import('node:fs/promises')).cp(path, copy, { recursive: true })
  await using after = storeOver(directoryAt(copy), nodeFileSystem)
  expect(await after.persist({ blobs: { a: 'three' } })).toMatchObject({ sequence: 2 })
  expect(await after.verify()).toMatchObject({ ok: true, problems: [] })
})

test('a HEAD that is where it belongs is not written again', async () => {
  const path = join(quickScratch(), 'store')
  const storage = directoryAt(path)
  await using store = storeOver(storage, nodeFileSystem)
  await store.persist({ blobs: { a: 'one' } })
  const before = (await storage.readHead())!.head.revision
  await storage.write({ waitMs: 1000 }, (session) => settleHead(session))
  expect((await storage.readHead())!.head.revision).toBe(before)
  await storage.write({ waitMs: 1000 }, (session) => session.swapHead(nextHead(session.stored!.head, {})))
  expect((await storage.readHead())!.head.revision).toBe(before + 1)
})
