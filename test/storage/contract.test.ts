import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import type { Head } from '../../src/format/head.ts'
import type { Storage, WriteSession } from '../../src/storage/port.ts'
import { failure, rejects } from '../support/rejects.ts'
import { kinds } from '../support/storages.ts'

// What the snapshot layer counts on, whatever a store lies on.

const storeId = '0f1e2d3c4b5a69788796a5b4c3d2e1f0'
const name = (digit: string): string => digit.repeat(64)
const waitMs = 5000

function nextOf(head: Head, change: Partial<Head> = {}): Head {
  const writes = [randomBytes(8).toString('hex'), ...head.writes].slice(0, 64)
  return { ...head, revision: head.revision + 1, writes, ...change }
}

async function created(storage: Storage): Promise<void> {
  await storage.write({ waitMs }, (session) => session.create(storeId, new Date().toISOString()))
}

async function writePack(session: WriteSession, pack: string, content: string): Promise<void> {
  const sink = await session.createPack(1)
  await sink.write([Buffer.from(content)], 0)
  await sink.commit(pack)
}

async function readAll(storage: Storage, pack: string): Promise<string> {
  const file = await storage.openPack(pack)
  const bytes = Buffer.alloc(file.bytes)
  await file.read(bytes, 0)
  await file.close()
  return bytes.toString()
}

describe.each(kinds)('a $name storage', ({ name: kind, storage: make, supports }) => {
  const { pins, alone, moves } = supports

  test('has no HEAD until a store is created in it', async () => {
    const storage = make()
    expect(await storage.readHead()).toBe(null)
    await storage.write({ waitMs }, async (session) => {
      expect(session.stored).toBe(null)
      expect(session.previous).toBe(null)
      expect(session.uncertain).toBe(false)
      expect(await session.listPacks()).toEqual([])
      await session.create(storeId, new Date().toISOString())
      expect(session.stored!.head).toMatchObject({ storeId, revision: 0, sequence: 0, current: null, snapshots: [] })
    })
    const stored = await storage.readHead()
    expect(stored!.head).toMatchObject({ storeId, revision: 0 })
    expect(stored!.unknown).toEqual([])
  })

  test('replaces HEAD, and keeps the one before', async () => {
    const storage = make()
    await created(storage)
    await storage.write({ waitMs }, async (session) => {
      const before = session.stored!
      const next = nextOf(before.head, { sequence: 5 })
      await session.swapHead(next)
      expect(session.stored!.head).toEqual(next)
      expect(session.stored!.bytes).not.toEqual(before.bytes)
      await session.swapHead(nextOf(next, { sequence: 6 }))
    })
    expect((await storage.readHead())!.head).toMatchObject({ revision: 2, sequence: 6 })
    await storage.write({ waitMs }, async ({ stored, previous }) => {
      expect(stored!.head.sequence).toBe(6)
      expect(previous?.sequence).toBe(alone ? 5 : undefined)
    })
    expect((await storage.inspect()).previous).toMatchObject(
      kind === 'memory' ? { state: 'missing' } : { state: 'good', value: { head: { sequence: 5 } } },
    )
  })

  test('makes the next HEAD by a function, which may say that there is nothing to change', async () => {
    const storage = make()
    await created(storage)
    await storage.write({ waitMs }, async (session) => {
      const seen: number[] = []
      await session.swapHead((stored) => {
        seen.push(stored.head.revision)
        return nextOf(stored.head, { sequence: 5 })
      })
      await session.swapHead(async (stored) => {
        seen.push(stored.head.revision)
        return null
      })
      expect(seen).toEqual([0, 1])
      expect(session.stored!.head).toMatchObject({ revision: 1, sequence: 5 })
    })
    expect((await storage.readHead())!.head.revision).toBe(1)
  })

  test('says whether it deletes by itself', async () => {
    const storage = make()
    await created(storage)
    await storage.write({ waitMs }, async ({ collect }) => expect(collect === null).toBe(alone))
  })

  test('shows readers the old HEAD until it is replaced', async () => {
    const storage = make()
    await created(storage)
    await storage.write({ waitMs }, async (session) => {
      const sink = await session.createPack(1)
      await sink.write([Buffer.from('x')], 0)
      await sink.commit(name('a'))
      expect((await storage.readHead())!.head.revision).toBe(0)
      await session.swapHead(nextOf(session.stored!.head))
      expect((await storage.readHead())!.head.revision).toBe(1)
    })
  })

  test('keeps packs, written in parts and at positions', async () => {
    const storage = make()
    await created(storage)
    await storage.write({ waitMs }, async (session) => {
      const sink = await session.createPack(1)
      const view = Buffer.from('hello')
      await sink.write([view, Buffer.from(' '), Buffer.alloc(0)], 0)
      view.fill(0)
      await sink.write([Buffer.from('world'), Buffer.alloc(100_000, '.')], 6)
      await sink.commit(name('b'))
      expect(await session.packBytes(name('b'))).toBe(100_011)
      expect(await session.packBytes(name('c'))).toBe(null)
      expect(await session.listPacks()).toEqual([name('b')])
      const start = new Uint8Array(11)
      expect(await session.readPackStart(name('b'), start)).toBe(11)
      expect(Buffer.from(start).toString()).toBe('hello world')
      await writePack(session, name('d'), 'tiny')
      expect(await session.readPackStart(name('d'), new Uint8Array(64))).toBe(4)
    })
    const file = await storage.openPack(name('b'))
    expect(file).toMatchObject({ name: name('b'), bytes: 100_011 })
    const middle = Buffer.alloc(7)
    await file.read(middle, 4)
    expect(middle.toString()).toBe('o world')
    await file.read(Buffer.alloc(0), 100_011)
    const beyond = await rejects(file.read(Buffer.alloc(2), 100_010), 'PACK_DAMAGED')
    expect(beyond.details.pack).toBe(name('b'))
    await file.close()
    await file.close()
  })

  test('says of a pack that is not there that it is missing', async () => {
    const storage = make()
    await created(storage)
    const error = await rejects(storage.openPack(name('e')), 'PACK_MISSING')
    expect(error.details.pack).toBe(name('e'))
  })

  test(
    pins ? 'keeps a pack readable for who has it open when it is deleted' : 'says that an open pack was deleted',
    async () => {
      const storage = make()
      await created(storage)
      await storage.write({ waitMs }, (session) => writePack(session, name('1'), 'content'))
      const held = await storage.openPack(name('1'))
      await storage.write({ waitMs }, async (session) => {
        await session.deletePack(name('1'))
        await session.deletePack(name('1'))
        expect(await session.listPacks()).toEqual([])
        expect(await session.packBytes(name('1'))).toBe(null)
      })
      const bytes = Buffer.alloc(7)
      if (pins) {
        await rejects(storage.openPack(name('1')), 'PACK_MISSING')
        await held.read(bytes, 0)
        expect(bytes.toString()).toBe('content')
      } else {
        await rejects(held.read(bytes, 0), 'PACK_MISSING')
      }
      held.closeSync()
    },
  )

  test(
    alone
      ? 'forgets packs that are discarded, committed or not'
      : 'forgets packs that are discarded and were not committed',
    async () => {
      const storage = make()
      await created(storage)
      await storage.write({ waitMs }, async (session) => {
        const never = await session.createPack(1)
        await never.write([Buffer.from('x')], 0)
        await never.discard()
        await never.discard()
        const regretted = await session.createPack(1)
        await regretted.write([Buffer.from('x')], 0)
        await regretted.commit(name('2'))
        await regretted.discard()
        const left = alone ? [] : [name('2')]
        expect(await session.listPacks()).toEqual(left)
        // Left open: gone when the session ends.
        await (await session.createPack(1)).write([Buffer.from('x')], 0)
        expect(await session.listPacks()).toEqual(left)
      })
      await storage.write({ waitMs }, async (session) =>
        expect(await session.listPacks()).toEqual(alone ? [] : [name('2')]),
      )
    },
  )

  test('takes a pack out of sight when it is quarantined', async () => {
    const storage = make()
    await created(storage)
    await storage.write({ waitMs }, async (session) => {
      await writePack(session, name('3'), 'odd')
      expect(await session.quarantinePack(name('3'), 'not-a-pack', { why: 'test' })).toContain(
        moves ? name('3') : 'quarantine',
      )
      expect(await session.listPacks()).toEqual([])
    })
    if (moves) await rejects(storage.openPack(name('3')), 'PACK_MISSING')
    else expect(await readAll(storage, name('3'))).toBe('odd')
  })

  test('has one writer at a time, in the order in which they came', async () => {
    const storage = make()
    await created(storage)
    let running = 0
    const order: number[] = []
    await Promise.all(
      Array.from({ length: 8 }, (_, i) =>
        storage.write({ waitMs }, async (session) => {
          running += 1
          expect(running).toBe(1)
          order.push(i)
          await new Promise((resolve) => setTimeout(resolve, 2))
          await session.swapHead(nextOf(session.stored!.head))
          running -= 1
        }),
      ),
    )
    expect(order).toEqual([0, 1, 2, 3, 4, 5, 6, 7])
    expect((await storage.readHead())!.head.revision).toBe(8)
  })

  test('goes on after a writer that failed, and answers what a writer answers', async () => {
    const storage = make()
    const reason = new Error('task')
    expect(await failure(storage.write({ waitMs }, () => Promise.reject(reason)))).toBe(reason)
    expect(await storage.write({ waitMs }, async () => 'answer')).toBe('answer')
  })

  test('lets a writer wait no longer than it wants to', async () => {
    const storage = make()
    await created(storage)
    let release = (): void => undefined
    const held = new Promise<void>((resolve) => {
      release = resolve
    })
    const first = storage.write({ waitMs }, () => held)
    const late = await rejects(
      storage.write({ waitMs: 20 }, async () => 'never'),
      'STORE_LOCKED',
    )
    expect(late.details).toMatchObject({ waitedMs: 20 })
    const controller = new AbortController()
    const aborted = failure(storage.write({ waitMs, signal: controller.signal }, async () => 'never'))
    controller.abort('reason')
    expect(await aborted).toBe('reason')
    release()
    await first
    expect(await storage.write({ waitMs: 0 }, async () => 'now')).toBe('now')
  })

  test('reads back what it wrote under another writer', async () => {
    const storage = make()
    await created(storage)
    for (const digit of ['4', '5', '6']) {
      await storage.write({ waitMs }, (session) => writePack(session, name(digit), `content ${digit}`))
    }
    expect(await readAll(storage, name('5'))).toBe('content 5')
  })
})
