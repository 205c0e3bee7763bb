// The steps of one writer of an object store. Nothing keeps other writers out: their swaps and ours are told apart by
// HEAD.

import { randomBytes } from 'node:crypto'
import { clock } from '../../clock.ts'
import { HoldfastError, isDamage, isHoldfastError } from '../../errors.ts'
import { emptyHead } from '../../format/empty-head.ts'
import type { Head } from '../../format/head.ts'
import { encodeStoreFile, parseStoreFile } from '../../format/store-file.ts'
import type { PackSink, WriteSession } from '../port.ts'
import { isConflict, type ObjectClient } from './client.ts'
import { createCollect, deleteObject } from './collect.ts'
import type { HeadCell, RemoteHead } from './head-cell.ts'
import type { ObjectReader } from './inspect.ts'
import type { KnownPacks } from './known-packs.ts'
import { HEAD, PACKS, STORE } from './layout.ts'
import { attemptRequest } from './retry.ts'
import { createUpload } from './upload.ts'

interface SessionOptions {
  client: ObjectClient
  cell: HeadCell
  known: KnownPacks
  reader: ObjectReader
  /** STORE.json was seen: it is never changed. */
  creation: { isFinished: boolean }
  /** Opens the session whatever is there. */
  repair: boolean
  partBytes?: number | undefined
}

export async function openObjectSession(
  options: SessionOptions,
): Promise<{ session: WriteSession; close: () => Promise<void> }> {
  const { client, cell, known, reader, repair } = options
  const { location } = client
  const sinks = new Set<PackSink>()
  // Both are asked for at once: a process that writes for the first time waits for one answer less.
  const storeFile = options.creation.isFinished ? Promise.resolve(null) : reader.raw(STORE)
  storeFile.catch(() => undefined)
  let stored = await cell.read().catch((error: unknown) => {
    if (repair && (isDamage(error) || isHoldfastError(error, 'NOT_A_STORE'))) return null
    throw error
  })
  if (stored !== null) await finishCreation(stored.head.storeId, storeFile).catch(refuseUnlessRepair)

  function refuseUnlessRepair(error: unknown): void {
    if (!repair || !isDamage(error)) throw error
    stored = null
  }

  /** STORE.json of this id. Whoever finds HEAD without it writes it. */
  async function finishCreation(storeId: string, reading: ReturnType<ObjectReader['raw']>): Promise<void> {
    if (options.creation.isFinished) return
    const file = await reading
    if (file === null) {
      await writeStoreFile(storeId)
      options.creation.isFinished = true
      return
    }
    const { storeId: there } = parseStoreFile(file.bytes, `${location}/${STORE}`)
    if (there === storeId) {
      options.creation.isFinished = true
      return
    }
    throw new HoldfastError(
      'STORE_DAMAGED',
      `${location}: HEAD.json belongs to store ${storeId}, but STORE.json to ${there}: two stores were mixed`,
      { details: { path: location, head: storeId, store: there } },
    )
  }

  async function writeStoreFile(storeId: string): Promise<void> {
    const bytes = encodeStoreFile({ storeId, created: clock.now().toISOString() })
    await attemptRequest(location, 'writing STORE.json', () =>
      client.put(STORE, bytes, { ifAbsent: true }).catch((error: unknown) => {
        // Another writer has finished it.
        if (!isConflict(error)) throw error
      }),
    )
  }

  async function create(storeId: string): Promise<void> {
    const head: Head = { ...emptyHead(storeId), writes: [randomBytes(8).toString('hex')] }
    stored = await cell.put(head, null)
    await finishCreation(stored.head.storeId, reader.raw(STORE))
  }

  async function restoreHead(next: Head): Promise<void> {
    const there = await reader.raw(HEAD)
    const keyed = {
      ...next,
      packs: next.packs.map((pack) => {
        const key = pack.key ?? known.get(pack.name)?.key
        if (key === undefined) throw new Error(`bug: where pack ${pack.name} is, is not known`)
        return { ...pack, key }
      }),
    }
    const put = await cell.put(keyed, there?.etag ?? null)
    if (put.head.writes[0] !== next.writes[0]) throw overtaken()
    stored = put
    const file = await reader.raw(STORE)
    const isGood = file !== null && isStoreFileOf(file.bytes, next.storeId)
    if (isGood) return
    if (file !== null) await deleteObject(client, STORE)
    await writeStoreFile(next.storeId)
  }

  function isStoreFileOf(bytes: Uint8Array, storeId: string): boolean {
    try {
      return parseStoreFile(bytes, STORE).storeId === storeId
    } catch {
      return false
    }
  }

  function overtaken(): HoldfastError {
    return new HoldfastError(
      'HEAD_CONFLICT',
      `${location} was written to by another writer; nothing was committed, try again`,
      {
        details: { location, revision: stored?.head.revision ?? null, current: null },
      },
    )
  }

  const session: WriteSession = {
    get stored() {
      return stored
    },
    previous: null,
    putBack: false,
    locked: false,
    get uncertain() {
      return stored !== null && cell.isUncertain(stored.head)
    },
    create,
    async createPack(revision) {
      const { partBytes } = options
      const sink = createUpload({
        client,
        revision,
        ...(partBytes === undefined ? {} : { partBytes }),
        done(name, pack) {
          known.add(name, pack)
          sinks.delete(sink)
        },
      })
      sinks.add(sink)
      return sink
    },
    async packBytes(name) {
      const pack = known.get(name)
      if (pack === undefined) return null
      return (await attemptRequest(location, 'looking', () => client.head(PACKS + pack.key)))?.size ?? null
    },
    async listPacks() {
      return (await reader.packs({ named: true })).flatMap(({ name }) => name ?? [])
    },
    async readPackStart(name, target) {
      const pack = known.get(name)
      if (pack === undefined) return null
      const range = { start: 0, end: Math.min(target.length, pack.bytes) }
      const got = await attemptRequest(location, `reading pack ${name}`, () => client.get(PACKS + pack.key, { range }))
      if (got.state !== 'found') return null
      target.set(got.bytes)
      return got.bytes.length
    },
    restoreHead,
    async swapHead(next, ready) {
      if (stored === null) throw new Error('bug: there is no HEAD to swap')
      const swapped: RemoteHead | null = await cell.swap(stored as RemoteHead, next, ready)
      if (swapped !== null) stored = swapped
    },
    async deletePack(name) {
      const pack = known.get(name)
      if (pack !== undefined) await deleteObject(client, PACKS + pack.key)
    },
    async quarantinePack(name, reason, details) {
      const pack = known.get(name)
      if (pack === undefined) throw new Error(`bug: where pack ${name} is, is not known`)
      return await reader.quarantine(name, { reason, details, key: pack.key })
    },
    async quarantineFile(name, reason, details) {
      const file = await reader.raw(name)
      const content = file === null ? undefined : Buffer.from(file.bytes).toString('base64')
      return await reader.quarantine(name, { reason, details, content })
    },
    listTemps: async () => ({ reap: async () => undefined }),
    collect: createCollect({ client, reader, head: () => stored!.head }),
  }
  return {
    session,
    async close() {
      for (const sink of sinks) await sink.discard()
    },
  }
}
