import type { Head } from '../../src/format/head.ts'
import type { PackFile, Storage, WriteSession } from '../../src/storage/port.ts'

/** A storage that notes what is written to it, and whose packs can be made to rot. */
export interface Watched {
  storage: Storage
  /** What changed the storage, in order: `createPack`, `commitPack`, `swapHead`, `deletePack`, `quarantinePack`. */
  log: string[]
  /** Names of packs of which every read but that of the header has a wrong byte. */
  rotten: Set<string>
  head(): Promise<Head>
}

export function watch(storage: Storage): Watched {
  const log: string[] = []
  const rotten = new Set<string>()

  async function openPack(name: string): Promise<PackFile> {
    const file = await storage.openPack(name)
    return {
      ...file,
      async read(target, position) {
        await file.read(target, position)
        if (rotten.has(name) && position > 0) target[0]! ^= 1
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
      async createPack() {
        log.push('createPack')
        const sink = await session.createPack()
        return {
          ...sink,
          async commit(name) {
            log.push('commitPack')
            await sink.commit(name)
          },
        }
      },
      async swapHead(next) {
        log.push('swapHead')
        await session.swapHead(next)
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
    rotten,
    async head() {
      const stored = await storage.readHead()
      return stored!.head
    },
  }
}
