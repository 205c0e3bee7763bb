// A store in an object store: HEAD by compare-and-swap, packs that are never changed, no lock. Any number of writers
// and readers.

import { HoldfastError } from '../../errors.ts'
import { createQueue } from '../../fs/queue.ts'
import { OBJECTS } from '../on-first-use.ts'
import type { Storage } from '../port.ts'
import type { ObjectClient } from './client.ts'
import { createHeadCell } from './head-cell.ts'
import { createObjectReader } from './inspect.ts'
import { createKnownPacks } from './known-packs.ts'
import { createTails, objectPack } from './pack-file.ts'
import { assertSupported, probe, type Quoting } from './probe.ts'
import { openObjectSession } from './session.ts'

interface ObjectStorageOptions {
  client: ObjectClient
  readOnly?: boolean | undefined
  /** Bytes of a part of an upload; at least 5 MiB on real servers. */
  partBytes?: number | undefined
  /** How the server wants ETags; given, it is not asked what it can do. */
  trusted?: Quoting | undefined
}

/** What this process learnt of servers: by client identity. */
const probed = new Map<string, Promise<Quoting>>()

export function objectStorage({ client, readOnly = false, partBytes, trusted }: ObjectStorageOptions): Storage {
  const { location } = client
  const known = createKnownPacks()
  const settings: { quoting: Quoting } = { quoting: trusted ?? 'quoted' }
  const cell = createHeadCell(client, known, settings)
  const reader = createObjectReader(client, known)
  const queue = createQueue()
  const creation = { isFinished: false }

  async function learn(): Promise<void> {
    if (trusted !== undefined) return
    let learning = probed.get(client.identity)
    if (learning === undefined) {
      learning = probe(client).then((answer) => {
        assertSupported(client, answer)
        return answer.quoting!
      })
      probed.set(client.identity, learning)
      learning.catch(() => probed.delete(client.identity))
    }
    settings.quoting = await learning
  }

  const tails = createTails()

  return {
    location,
    supports: OBJECTS,
    address: client.address,
    learn: known.addHead,
    readHead: () => cell.read(),
    inspect: reader.inspect,
    async openPack(name) {
      const pack = known.get(name)
      if (pack !== undefined) return objectPack(client, name, pack, tails)
      throw new HoldfastError('PACK_MISSING', `pack ${name} is missing`, { details: { pack: name } })
    },
    async write(options, task) {
      if (readOnly) {
        throw new HoldfastError('READ_ONLY', `${location} was opened read-only`, { details: { path: location } })
      }
      return await queue.run(
        options.signal,
        options.waitMs,
        async () => {
          await learn()
          const { session, close } = await openObjectSession({
            client,
            cell,
            known,
            reader,
            creation,
            repair: options.repair === true,
            partBytes,
          })
          try {
            return await task(session)
          } finally {
            await close()
          }
        },
        () =>
          new HoldfastError('STORE_LOCKED', `another write of this process is not done after ${options.waitMs} ms`, {
            details: { path: location, waitedMs: options.waitMs, holder: 'this process' },
          }),
      )
    },
  }
}
