import { createPackCache } from '../../src/blocks/pack-cache.ts'
import { parseCid } from '../../src/format/cid.ts'
import type { Head } from '../../src/format/head.ts'
import type { PackFile, Storage, WriteSession } from '../../src/storage/port.ts'

/** A storage that notes what is written to it, and whose packs can be made to rot. */
export interface Watched {
  storage: Storage
  /** What changed the storage, in order: `createPack`, `commitPack`, `swapHead`, `deletePack`, `quarantinePack`. */
  log: string[]
  /** Makes one byte of a pack wrong; a negative position counts from its end. */
  rot(pack: string, position: number): void
  /** Makes a byte of a block wrong, in every pack that has it now. */
  rotBlock(cid: string): Promise<void>
  heal(): void
  head(): Promise<Head>
  /** Names of the packs that a snapshot needs and no other one does. */
  ownPacks(sequence: number): Promise<string[]>
}

/** Where a pack's first block lies. */
export const FIRST_BLOCK = 64
/** In a pack's footer: it has no index any more. */
export const FOOTER = -10

export function watch(storage: Storage): Watched {
  const log: string[] = []
  const rotten = new Map<string, Set<number>>()

  async function head(): Promise<Head> {
    const stored = await storage.readHead()
    return stored!.head
  }

  async function openPack(name: string): Promise<PackFile> {
    const file = await storage.openPack(name)
    return {
      ...file,
      readParts: undefined,
      async read(target, position) {
        await file.read(target, position)
        for (const bad of rotten.get(name) ?? []) {
          const at = (bad < 0 ? file.bytes + bad : bad) - position
          if (at >= 0 && at < target.length) target[at]! ^= 1
        }
      },
    }
  }

  function watchSession(session: WriteSession): WriteSession {
    return {
      ...session,
      get stored() {
        return session.stored
      },
      get previous() {
        return session.previous
      },
      get uncertain() {
        return session.uncertain
      },
      async createPack(revision) {
        log.push('createPack')
        const sink = await session.createPack(revision)
        return {
          ...sink,
          async commit(name) {
            log.push('commitPack')
            await sink.commit(name)
          },
        }
      },
      async swapHead(next, ready) {
        await session.swapHead(async (stored) => {
          const made = typeof next === 'function' ? await next(stored) : next
          if (made !== null) log.push('swapHead')
          return made
        }, ready)
      },
      async deletePack(name) {
        log.push('deletePack')
        await session.deletePack(name)
      },
      async quarantinePack(name, reason, details) {
        log.push('quarantinePack')
        return await session.quarantinePack(name, reason, details)
      },
    }
  }

  return {
    storage: {
      ...storage,
      openPack,
      write: (options, task) => storage.write(options, (session) => task(watchSession(session))),
    },
    log,
    rot(pack, position) {
      rotten.set(pack, (rotten.get(pack) ?? new Set()).add(position))
    },
    async rotBlock(cid) {
      const { digest } = parseCid(cid)
      const { packs, storeId } = await head()
      for (const { name } of packs) {
        const pack = await createPackCache(storage).open(name, Buffer.from(storeId, 'hex'))
        const index = await pack.index()
        const entry = index.find(digest, 0)
        if (entry !== -1) rotten.set(name, (rotten.get(name) ?? new Set()).add(index.offset(entry)))
        await pack.release()
      }
    },
    heal: () => rotten.clear(),
    head,
    async ownPacks(sequence) {
      const { packs, snapshots } = await head()
      const others = new Set(snapshots.filter((s) => s.sequence !== sequence).flatMap((s) => s.packs))
      const own = snapshots.find((s) => s.sequence === sequence)!.packs.filter((id) => !others.has(id))
      return own.map((id) => packs.find((pack) => pack.id === id)!.name)
    },
  }
}
