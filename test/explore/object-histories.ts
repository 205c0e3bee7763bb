// Random histories of an object store: builders, readers and collectors beside each other, over the simulated server of
// test/support/simulated-objects.ts. Requests are carried out in an order drawn by the seed, with its faults. Time is
// the simulation's.
//
// What must hold, whatever happens:
//
//   1. an acknowledged snapshot is in a HEAD of the chain, with its sequence and its manifest, and no two share a
//      sequence. One call makes one snapshot at most, and none if it says that nothing was committed
//   2. HEADs are a chain: each is made from the one before
//   3. what HEAD names is there, at every moment; what is deleted was given up by HEAD, and readers had their grace
//   4. a reader gets the right bytes, or an error that says that it came too late or that the server failed; never
//      damage
//   5. everybody is done after a bounded number of steps
//   6. at the end every kept snapshot loads

import { clock } from '../../src/clock.ts'
import { isHoldfastError } from '../../src/errors.ts'
import { type Head, parseHead } from '../../src/format/head.ts'
import { revisionOfKey } from '../../src/format/pack-key.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { createReach } from '../../src/gc/reach.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import type { Local } from '../../src/local/local.ts'
import { collectShared } from '../../src/space/gc-shared.ts'
import { ObjectError } from '../../src/storage/object/client.ts'
import { objectStorage } from '../../src/storage/object/storage.ts'
import type { Storage } from '../../src/storage/port.ts'
import { createStore, type Store } from '../../src/store.ts'
import { createRandom, type Random } from '../support/random.ts'
import { type Carry, type SimulatedObjects, simulatedObjects } from '../support/simulated-objects.ts'
import { contextOver } from '../support/store-over.ts'

const STEPS_MAX = 20_000
const TURNS_MAX = 1_000
const local: Local = {
  files: null,
  images: null,
  workDirectory: () => Promise.reject(new Error('no work directory here')),
  room: async () => null,
  close: async () => undefined,
}

interface Event {
  client: string
  atMs: number
  run: () => void
}

/** What a history did, for the tests of the harness itself. */
export interface History {
  acknowledged: number
  unknown: number
  reads: number
  deletedPacks: number
  rewrittenPacks: number
  conflicts: number
  steps: number
}

/** Runs one history. Throws an `Error` that says which invariant does not hold. */
export async function runHistory(seed: number): Promise<History> {
  const random = createRandom(seed)
  const real = { ...clock }
  let nowMs = 1_800_000_000_000
  const events: Event[] = []
  const stalled = new Map<string, number>()
  const faults = random.pick([0, 0.02, 0.1, 0.3])
  let violation: Error | null = null
  let ended = false

  function fail(message: string): void {
    violation ??= new Error(`history ${seed}: ${message}`)
  }
  function later(client: string, ms: number, run: () => void): void {
    events.push({ client, atMs: nowMs + ms, run })
  }

  const carry: Carry = (request, act) =>
    new Promise((resolve, reject) => {
      const { client } = request
      const delayMs = random.below(40)
      later(client, delayMs, () => {
        const fault = !ended && random.chance(faults) ? random.pick(FAULTS) : 'none'
        const attempt = (): { done: () => void } => {
          try {
            const value = act()
            return { done: () => resolve(value) }
          } catch (error) {
            return { done: () => reject(error) }
          }
        }
        const reply = (done: () => void): void => later(client, random.below(40), done)
        const isWrite = request.kind !== 'get' && request.kind !== 'list' && request.kind !== 'head'
        switch (fault) {
          case 'lost request':
            reply(() => reject(new ObjectError('timeout', 0, 'Timeout')))
            break
          case 'lost reply':
            attempt()
            reply(() => reject(new ObjectError('reset', 0, 'ConnectionReset')))
            break
          case 'late':
            if (isWrite) later('server', random.pick([50, 500, 5_000, 100_000]), () => void attempt())
            reply(() => reject(new ObjectError('timeout', 0, 'Timeout')))
            break
          case 'busy':
            reply(() => reject(new ObjectError('', 503, 'SlowDown')))
            break
          case 'error, done':
            attempt()
            reply(() => reject(new ObjectError('', 500, 'InternalError')))
            break
          case 'conflict':
            reply(() =>
              reject(
                isWrite
                  ? new ObjectError('', 409, 'ConditionalRequestConflict')
                  : new ObjectError('', 500, 'InternalError'),
              ),
            )
            break
          default:
            reply(attempt().done)
        }
      })
    })

  const server = simulatedObjects({ carry, nowMs: () => nowMs })
  server.stale = () => (!ended && random.chance(faults / 2) ? 1 + random.below(2) : 0)
  const graceMs = random.pick([200, 2_000, 20_000])
  const retiredMs = new Map<string, number>()
  server.onDelete = (key) => {
    if (key.startsWith('packs/')) result.deletedPacks += 1
    const message = wrongDeletion(server, key, retiredMs, nowMs - graceMs)
    if (message !== null) fail(message)
  }
  server.onChange = () => {
    noteRetired(server, retiredMs, nowMs)
    const message = missingPack(server)
    if (message !== null) fail(message)
  }
  Object.assign(clock, {
    nowMs: () => nowMs,
    now: () => new Date(nowMs),
    monotonicMs: () => nowMs,
    random: () => random.below(1 << 20) / (1 << 20),
    sleep: (ms: number) => new Promise<void>((resolve) => later('clock', ms, resolve)),
  })

  const result: History = {
    acknowledged: 0,
    unknown: 0,
    reads: 0,
    deletedPacks: 0,
    rewrittenPacks: 0,
    conflicts: 0,
    steps: 0,
  }
  try {
    const acknowledged = new Map<number, string>()
    const refused = new Set<string>()
    const actors = cast(random, server, { fail, result, acknowledged, refused, graceMs })
    let running = actors.length
    for (const actor of actors) void actor().finally(() => running--)
    while (running > 0 && violation === null) {
      await idle()
      // The event loop may be given turns in between.
      for (let turns = 0; turns < TURNS_MAX && events.length === 0 && running > 0; turns++) await idle()
      if (events.length > 0) step()
      else if (running > 0) fail('nobody goes on')
    }
    ended = true
    while (events.length > 0 && violation === null) step()
    if (violation === null) await assertEnd()
    async function assertEnd(): Promise<void> {
      for (const message of wrongChain(server, acknowledged, refused)) fail(message)
      let checking: Promise<void> | null = loadAll(server, fail).finally(() => {
        checking = null
      })
      while (checking !== null) {
        await idle()
        if (events.length > 0) step()
      }
    }
  } finally {
    Object.assign(clock, real)
  }
  if (violation !== null) throw violation
  return result

  /** Carries one event out: any of those that are due, or the next one. */
  function step(): void {
    result.steps += 1
    if (result.steps > STEPS_MAX) fail('it does not end')
    if (random.chance(0.004))
      stalled.set(random.pick(['a', 'b', 'c', 'collector', 'reader']), nowMs + random.pick([300, 3_000, 30_000]))
    const free = events.filter(({ client }) => (stalled.get(client) ?? 0) <= nowMs)
    const due = free.filter(({ atMs }) => atMs <= nowMs)
    const chosen = due.length > 0 ? random.pick(due) : earliest(free.length > 0 ? free : events)
    if (free.length === 0) stalled.clear()
    nowMs = Math.max(nowMs, chosen.atMs)
    events.splice(events.indexOf(chosen), 1)
    chosen.run()
  }

  async function idle(): Promise<void> {
    await real.nextTurn()
    await real.nextTurn()
  }
}

const FAULTS = ['lost request', 'lost reply', 'late', 'busy', 'error, done', 'conflict'] as const

function earliest(events: readonly Event[]): Event {
  return events.reduce((first, event) => (event.atMs < first.atMs ? event : first))
}

interface Stage {
  fail: (message: string) => void
  result: History
  /** Manifests by sequence. */
  acknowledged: Map<number, string>
  /** Messages of persists that said that nothing was committed. */
  refused: Set<string>
  graceMs: number
}

/** The builders, the readers and the collector of one history. */
function cast(
  random: Random,
  server: SimulatedObjects,
  { fail, result, acknowledged, refused, graceMs }: Stage,
): (() => Promise<void>)[] {
  const keepLast = random.pick([1, 2, 3, 6])
  const builders = ['a', 'b', 'c'].slice(0, 1 + random.below(3))
  const orphanMs = random.pick([100, 1_000])

  function expected(error: unknown, ...codes: Parameters<typeof isHoldfastError>[1][]): void {
    if (isHoldfastError(error, 'IO_FAILED', ...codes)) return
    fail(`unexpected ${error instanceof Error ? error.stack : String(error)}`)
  }

  function builder(name: string): () => Promise<void> {
    const own = createRandom(random.below(2 ** 31))
    const rounds = 1 + own.below(4)
    return async () => {
      const store = storeOver(objectStorage({ client: server.client(name), trusted: 'quoted' }), keepLast)
      for (let round = 1; round <= rounds; round++) {
        await clock.sleep(own.below(400))
        const blobs = contentOf(own.below(6))
        const message = `${name} ${round}`
        try {
          const { sequence, manifest, unchanged } = await store.persist({ blobs, message })
          result.acknowledged += 1
          const other = acknowledged.get(sequence)
          if (other !== undefined && (other !== manifest || !unchanged)) {
            if (other !== manifest || acknowledgedTwice(sequence)) fail(`sequence ${sequence} was given twice`)
          }
          if (!unchanged) given.add(sequence)
          acknowledged.set(sequence, manifest)
        } catch (error) {
          if (isHoldfastError(error, 'COMMIT_UNKNOWN')) result.unknown += 1
          else refused.add(message)
          if (isHoldfastError(error, 'COMMIT_UNKNOWN')) continue
          if (isHoldfastError(error, 'HEAD_CONFLICT', 'PACK_GONE', 'PACK_DAMAGED')) result.conflicts += 1
          else expected(error, 'STORE_ROLLED_BACK')
        }
        if (own.chance(0.3)) {
          await store.tag(`tag ${name}`).catch((error: unknown) => {
            expected(error, 'SNAPSHOT_NOT_FOUND', 'COMMIT_UNKNOWN', 'STORE_ROLLED_BACK', 'HEAD_CONFLICT')
          })
        }
      }
    }
  }

  const given = new Set<number>()
  function acknowledgedTwice(sequence: number): boolean {
    return given.has(sequence)
  }

  async function loaded(store: Store, read: (snapshot: Snapshot) => Promise<Record<string, Uint8Array>>) {
    const snapshot = await store.load()
    if (snapshot === null) return null
    try {
      return { snapshot, value: await read(snapshot) }
    } catch (error) {
      await snapshot.dispose()
      throw error
    }
  }

  function reader(): () => Promise<void> {
    const own = createRandom(random.below(2 ** 31))
    async function readAll(snapshot: Snapshot): Promise<Record<string, Uint8Array>> {
      await clock.sleep(own.pick([0, 0, 1_000, 5_000]))
      const bytes: Record<string, Uint8Array> = {}
      for (const name of snapshot.names) bytes[name] = await snapshot.blob(name).bytes()
      return bytes
    }
    return async () => {
      const store = storeOver(
        objectStorage({ client: server.client('reader'), trusted: 'quoted', readOnly: true }),
        keepLast,
      )
      for (let round = 0; round < 3; round++) {
        await clock.sleep(own.below(600))
        try {
          // A load does not start again by itself: what is read later may be gone, and is never damage.
          const restored = own.chance(0.5) ? await store.restore(readAll) : await loaded(store, readAll)
          if (restored === null) continue
          result.reads += 1
          const { version } = restored.snapshot.metadata as { version?: number }
          if (!sameContent(restored.value))
            fail(`snapshot ${restored.snapshot.sequence} is read with wrong bytes ${version}`)
          await restored.snapshot.dispose()
        } catch (error) {
          expected(error, 'SNAPSHOT_GONE', 'STORE_ROLLED_BACK')
        }
      }
    }
  }

  function collector(): () => Promise<void> {
    const own = createRandom(random.below(2 ** 31))
    return async () => {
      const ctx = contextOver(objectStorage({ client: server.client('collector'), trusted: 'quoted' }))
      const reach = createReach(ctx.links)
      for (let round = 0; round < 4; round++) {
        await clock.sleep(own.below(900))
        try {
          const settings = { lockWaitMs: 1_000, packBytesMax: 2 ** 20, orphanMs }
          const { packs } = await collectShared(ctx, reach, { graceMs, signal: new AbortController().signal }, settings)
          result.rewrittenPacks += packs.length
        } catch (error) {
          expected(error, 'COMMIT_UNKNOWN', 'STORE_ROLLED_BACK', 'HEAD_CONFLICT')
        }
      }
    }
  }
  return [...builders.map(builder), reader(), ...(random.chance(0.8) ? [collector()] : [])]
}

const contents = new Map<number, Record<string, Uint8Array>>()

/** Blobs that share chunks with those of other versions. */
function contentOf(version: number): Record<string, Uint8Array> {
  let content = contents.get(version)
  if (content === undefined) {
    const shared = createRandom(version % 3).bytes(2_000)
    content = { shared, own: createRandom(100 + version).bytes(3_000), version: Uint8Array.of(version) }
    contents.set(version, content)
  }
  return content
}

function sameContent(bytes: Record<string, Uint8Array>): boolean {
  const version = bytes.version?.[0]
  if (version === undefined) return false
  const wanted = contentOf(version)
  const names = Object.keys(wanted)
  return (
    names.length === Object.keys(bytes).length &&
    names.every((name) => Buffer.compare(bytes[name]!, wanted[name]!) === 0)
  )
}

function storeOver(storage: Storage, keepLast: number): Store {
  const place = { storage, fs: nodeFileSystem, local, journal: null, storageAt: null }
  return createStore(place, { keepLast, compression: 'none', onWarning: () => undefined })
}

/** A pack that HEAD names and that is not there, in words. */
function missingPack(server: SimulatedObjects): string | null {
  const bytes = server.objects.get('HEAD.json')?.bytes
  if (bytes === undefined) return null
  for (const { key } of headOf(bytes).packs) {
    if (!server.objects.has(`packs/${key}`)) return `HEAD names packs/${key}, and it is not there`
  }
  return null
}

const parsed = new WeakMap<Uint8Array, Head>()

function headOf(bytes: Uint8Array): Head {
  let head = parsed.get(bytes)
  if (head === undefined) {
    head = parseHead(bytes, 'HEAD').head
    parsed.set(bytes, head)
  }
  return head
}

/** When a HEAD first had a pack retired, by the server's clock, which has seconds. */
function noteRetired(server: SimulatedObjects, retiredMs: Map<string, number>, nowMs: number): void {
  const bytes = server.objects.get('HEAD.json')?.bytes
  if (bytes === undefined) return
  for (const { key } of headOf(bytes).retired) {
    if (!retiredMs.has(key!)) retiredMs.set(key!, Math.floor(nowMs / 1000) * 1000)
  }
}

/**
 * Why a pack must not be deleted now, in words. One that was retired once is never named again: a late request may make
 * it anew when it was deleted and its name has left HEAD, and another one may delete that.
 */
function wrongDeletion(
  server: SimulatedObjects,
  path: string,
  retiredMs: ReadonlyMap<string, number>,
  retiredBeforeMs: number,
): string | null {
  const bytes = server.objects.get('HEAD.json')?.bytes
  if (bytes === undefined || !path.startsWith('packs/')) return null
  const { revision, retired, packs, floor } = headOf(bytes)
  const key = path.slice('packs/'.length)
  if (packs.some((pack) => pack.key === key)) return `${path} is deleted, and HEAD names it`
  const since = retiredMs.get(key)
  if (since === undefined)
    return revisionOfKey(key)! <= (floor ?? 0) ? null : `${path} is deleted, and is above the floor`
  const entry = retired.find((pack) => pack.key === key)
  if (entry !== undefined && revision <= entry.revision) return `${path} is deleted, and only one HEAD has retired it`
  return since > retiredBeforeMs ? `${path} is deleted, and readers may need it` : null
}

function wrongChain(
  server: SimulatedObjects,
  acknowledged: ReadonlyMap<number, string>,
  refused: ReadonlySet<string>,
): string[] {
  const heads = server.heads.map(headOf)
  const wrong: string[] = []
  for (const [i, head] of heads.entries()) {
    if (i > 0 && head.writes[1] !== heads[i - 1]!.writes[0])
      wrong.push(`revision ${head.revision} is not made from the one before`)
  }
  const byMessage = new Map<string, Set<number>>()
  for (const { sequence, message } of heads.flatMap(({ snapshots }) => snapshots)) {
    if (message !== undefined) byMessage.set(message, (byMessage.get(message) ?? new Set()).add(sequence))
  }
  for (const [message, sequences] of byMessage) {
    if (sequences.size > 1) wrong.push(`persist ${message} made snapshots ${[...sequences].join(', ')}`)
    if (refused.has(message)) wrong.push(`persist ${message} said that nothing was committed, and there is a snapshot`)
  }
  for (const [sequence, manifest] of acknowledged) {
    const isThere = heads.some(({ snapshots }) =>
      snapshots.some((snapshot) => snapshot.sequence === sequence && snapshot.manifest === manifest),
    )
    if (!isThere) wrong.push(`snapshot ${sequence} was acknowledged, and is in no HEAD`)
  }
  return wrong
}

/** With no fault any more, everything that HEAD keeps is read. */
async function loadAll(server: SimulatedObjects, fail: (message: string) => void): Promise<void> {
  const store = storeOver(objectStorage({ client: server.client('end'), trusted: 'quoted', readOnly: true }), 3)
  try {
    for (const { sequence } of await store.snapshots()) {
      const snapshot = (await store.load({ at: sequence }))!
      const bytes: Record<string, Uint8Array> = {}
      for (const name of snapshot.names) bytes[name] = await snapshot.blob(name).bytes()
      if (!sameContent(bytes)) fail(`at the end, snapshot ${sequence} has wrong bytes`)
      await snapshot.dispose()
    }
  } catch (error) {
    fail(`at the end: ${(error as Error).stack}`)
  }
}
