// A store in memory, for tests. It keeps all promises of the port except durability, and never touches a disk.

import { HoldfastError } from '../errors.ts'
import { emptyHead } from '../format/empty-head.ts'
import { encodeHead, type Head, parseHead } from '../format/head.ts'
import { createQueue } from '../fs/queue.ts'
import { headFrom } from './head-from.ts'
import { LOCAL } from './on-first-use.ts'
import type { Inspection, PackFile, Storage, StoredHead, WriteSession } from './port.ts'

/** A store in the memory of this process, for tests. */
export function memoryStorage(): Storage {
  const packs = new Map<string, Uint8Array>()
  const queue = createQueue()
  let head: Uint8Array | null = null
  let previous: Head | null = null

  async function readHead(): Promise<StoredHead | null> {
    return head === null ? null : { ...parseHead(head, 'memory'), bytes: head }
  }

  async function inspect(): Promise<Inspection> {
    const stored = await readHead()
    return {
      store: stored === null ? { state: 'missing' } : { state: 'good', value: stored.head.storeId },
      head: stored === null ? { state: 'missing' } : { state: 'good', value: stored },
      previous: { state: 'missing' },
      putBack: false,
      packs: [...packs].map(([name, { length }]) => ({ name, bytes: length })),
      obstacles: [],
    }
  }

  const session: Omit<WriteSession, 'stored' | 'previous' | 'uncertain' | 'swapHead'> & {
    replaceHead(next: Head, ready?: () => Promise<unknown>): Promise<void>
  } = {
    locked: true,
    collect: null,
    putBack: false,
    async create(storeId) {
      head = encodeHead(emptyHead(storeId))
    },
    async createPack() {
      let bytes = new Uint8Array(1024)
      let length = 0
      let committed: string | null = null
      return {
        async write(views, position) {
          let at = position
          for (const view of views) {
            while (at + view.length > bytes.length) {
              const more = new Uint8Array(bytes.length * 2)
              more.set(bytes)
              bytes = more
            }
            bytes.set(view, at)
            at += view.length
            length = Math.max(length, at)
          }
        },
        async commit(name) {
          packs.set(name, bytes.slice(0, length))
          committed = name
        },
        async discard() {
          if (committed !== null) packs.delete(committed)
        },
      }
    },
    packBytes: async (name) => packs.get(name)?.length ?? null,
    listPacks: async () => [...packs.keys()],
    async readPackStart(name, target) {
      const bytes = packs.get(name)?.subarray(0, target.length)
      if (bytes === undefined) return null
      target.set(bytes)
      return bytes.length
    },
    async replaceHead(next, ready) {
      await ready?.()
      previous = head === null ? null : parseHead(head, 'memory').head
      head = encodeHead(next)
    },
    async restoreHead(next) {
      await session.replaceHead(next)
    },
    async deletePack(name) {
      packs.delete(name)
    },
    async quarantinePack(name) {
      packs.delete(name)
      return `memory:${name}`
    },
    async quarantineFile(name) {
      return `memory:${name}`
    },
    listTemps: async () => ({ reap: async () => undefined }),
  }

  return {
    location: 'memory',
    supports: LOCAL,
    readHead,
    inspect,
    async openPack(name): Promise<PackFile> {
      const bytes = packs.get(name)
      if (bytes === undefined) {
        throw new HoldfastError('PACK_MISSING', `pack ${name} is missing`, { details: { pack: name } })
      }
      return {
        name,
        bytes: bytes.length,
        async read(target, position) {
          const part = bytes.subarray(position, position + target.length)
          target.set(part)
          if (part.length === target.length) return
          throw new HoldfastError('PACK_DAMAGED', `pack ${name} is cut short`, { details: { pack: name } })
        },
        async close() {},
        closeSync() {},
      }
    },
    async write(options, task) {
      return await queue.run(
        options.signal,
        options.waitMs,
        async () => {
          let stored = await readHead()
          return await task({
            ...session,
            get stored() {
              return stored
            },
            get previous() {
              return previous
            },
            uncertain: false,
            async create(storeId, created) {
              await session.create(storeId, created)
              stored = await readHead()
            },
            async swapHead(next, ready) {
              const made = await headFrom(next, stored)
              if (made === null) return
              await session.replaceHead(made, ready)
              stored = await readHead()
            },
          })
        },
        () =>
          new HoldfastError(
            'STORE_LOCKED',
            `another write to this memory store is not done after ${options.waitMs} ms`,
            {
              details: { path: 'memory', waitedMs: options.waitMs, holder: 'this process' },
            },
          ),
      )
    },
  }
}
