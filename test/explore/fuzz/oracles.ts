// What must hold for any store whatever lies in it. Each rule has a name; a store that breaks one is a failure of that
// kind.

import { isDeepStrictEqual } from 'node:util'
import { isHoldfastError } from '../../../src/errors.ts'
import type { PersistOptions } from '../../../src/persist/options.ts'
import type { VerifyReport } from '../../../src/recovery/verify.ts'
import type { Store } from '../../../src/store.ts'
import { createDisk } from '../../faulty-disk/disk.ts'
import { type DirectoryImage, keyOf } from '../../faulty-disk/image.ts'
import { open } from '../../support/lab.ts'
import type { Random } from '../../support/random.ts'
import { fingerprint } from '../../support/store-directory.ts'
import { outsideOf } from './images.ts'

export interface Failure {
  rule: string
  message: string
}

/**
 * What a reader got of one blob: the digest of its bytes, or the code of its error; null: too large to be read here.
 */
type SeenBlob = { bytes: string } | { code: string } | null

interface SeenSnapshot {
  code: string | null
  manifest: string
  blobs: Map<string, SeenBlob>
}

interface Seen {
  /** Newest first; null: there is no history to read. */
  history: { sequence: number; abandoned: boolean; current: boolean }[] | null
  snapshots: Map<number, SeenSnapshot>
}

export interface Judged {
  failures: Failure[]
  /** In a few words, for counting. */
  outcome: string
}

export interface Subject {
  image: DirectoryImage
  /** Digests of the bytes of blobs by CID, as they were persisted. */
  known: ReadonlyMap<string, string>
  /** What a writer that goes on with this store persists. */
  next: PersistOptions
  random: Random
  /** Packs in which blocks are not what was written, so that only reading them tells. */
  rotten: number
  /** Ms of processor time, for one operation. */
  slow: number
}

/** However busy the machine is. */
const WAIT_MAX_MS = 60_000

/** Larger blobs are only begun. */
const READ_MAX = 16 * 1024 * 1024

/** Runs every operation on copies of the store, and compares what they say. */
export async function judge(subject: Subject): Promise<Judged> {
  const failures: Failure[] = []
  const court = createCourt(subject, failures)
  const seen = await court.read(subject.image)
  await judgeVerify(court, subject.image, seen)
  await judgeFallback(court, subject.image, seen)
  const repaired = await judgeRepair(court, subject.image, seen)
  await judgePersist(court, subject.image, seen, 'persist')
  if (repaired !== null) await judgePersist(court, repaired, await court.read(repaired), 'persist after repair')
  return { failures, outcome: outcomeOf(seen, repaired !== null) }
}

function outcomeOf({ history, snapshots }: Seen, repaired: boolean): string {
  const states = [...snapshots.values()].map(loads)
  const loading = history === null ? 'no history' : states.every((state) => state === true) ? 'all load' : 'some load'
  return `${states.length > 0 && states.every((state) => state === false) ? 'none load' : loading}${repaired ? ', repaired' : ''}`
}

/** Whether all of a snapshot can be read; null: that is not known. */
function loads({ code, blobs }: SeenSnapshot): boolean | null {
  const states = [...blobs.values()]
  // What cannot be read may be whole, and what a newer version wrote is for that version to judge.
  const codes = [code, ...states.map((blob) => (blob !== null && 'code' in blob ? blob.code : null))]
  if (codes.includes('IO_FAILED') || codes.includes('VERSION_UNSUPPORTED')) return null
  if (code !== null || states.some((blob) => blob !== null && 'code' in blob)) return false
  return states.includes(null) ? null : true
}

type Attempt<T> = { ok: true; value: T } | { ok: false; code: string; message: string }

/** Runs operations, each as a process of its own, and notes what no operation may do. */
function createCourt(subject: Subject, failures: Failure[]) {
  const outside = keyOf(outsideOf(subject.image))

  function fail(rule: string, message: string): void {
    failures.push({ rule, message })
  }

  async function attempt<T>(what: string, operation: () => Promise<T>): Promise<Attempt<T>> {
    const startMs = performance.now()
    const start = process.cpuUsage()
    try {
      return { ok: true, value: await operation() }
    } catch (error) {
      const { message } = error as Error
      if (isHoldfastError(error)) {
        if (message.includes('bug:')) fail('typed errors only', `${what}: ${message}`)
        if (message.length > 10_000) fail('messages are short', `${what}: ${message.length} characters`)
        return { ok: false, code: error.code, message }
      }
      fail(
        'typed errors only',
        `${what}: ${(error as Error).stack?.split('\n').slice(0, 4).join(' ') ?? String(error)}`,
      )
      return { ok: false, code: 'UNTYPED', message }
    } finally {
      // Of this process alone: what else the machine does is not counted.
      const { user, system } = process.cpuUsage(start)
      const busyMs = Math.round((user + system) / 1_000)
      if (busyMs > subject.slow) fail('time is bounded', `${what}: ${busyMs} ms`)
      else if (performance.now() - startMs > WAIT_MAX_MS) fail('time is bounded', `${what}: it waits`)
    }
  }

  /** Runs `use` on the store of an image, which must not change. */
  async function reading<T>(image: DirectoryImage, what: string, use: (store: Store) => Promise<T>): Promise<T> {
    const disk = createDisk(image)
    disk.onChange = ({ name, path }) => {
      throw new Error(`a reader did ${name} ${path}`)
    }
    const process = open(disk, { process: 'reader' })
    try {
      return await use(process)
    } finally {
      await process.close()
      if (keyOf(disk.image()) !== keyOf(image)) fail('reading changes nothing', what)
    }
  }

  /** Runs `use` on the store of an image; answers its result and what the disk holds then. */
  async function writing<T>(image: DirectoryImage, what: string, use: (store: Store) => Promise<T>) {
    const disk = createDisk(image)
    const store = open(disk, { process: 'writer' })
    const result = await use(store)
    await attempt(`${what}, close`, () => store.close())
    if (keyOf(outsideOf(disk.image())) !== outside) fail('nothing outside the store is touched', what)
    return { result, image: disk.image() }
  }

  async function read(image: DirectoryImage): Promise<Seen> {
    return await reading(image, 'load', async (store) => {
      const snapshots = new Map<number, SeenSnapshot>()
      const listed = await attempt('snapshots', () => store.snapshots())
      if (!listed.ok) {
        const loaded = await attempt('load', () => store.load())
        if (loaded.ok) fail('load and snapshots agree', `one throws ${listed.code}`)
        return { history: null, snapshots }
      }
      for (const { sequence } of listed.value.slice(0, 8)) snapshots.set(sequence, await readSnapshot(store, sequence))
      return { history: listed.value, snapshots }
    })
  }

  async function readSnapshot(store: Store, at: number): Promise<SeenSnapshot> {
    const loaded = await attempt('load', () => store.load({ at }))
    const blobs = new Map<string, SeenBlob>()
    if (!loaded.ok || loaded.value === null) return { code: loaded.ok ? 'NONE' : loaded.code, manifest: '', blobs }
    await using snapshot = loaded.value
    for (const name of snapshot.names) blobs.set(name, await readBlob(snapshot.blob(name)))
    return { code: null, manifest: snapshot.manifest, blobs }
  }

  async function readBlob(blob: {
    name: string
    cid: string
    size: number
    bytes(): Promise<Uint8Array>
    stream(range?: { end?: number }): AsyncIterable<Uint8Array>
  }): Promise<SeenBlob> {
    if (blob.size > READ_MAX) {
      await attempt('the start of a stream', async () => {
        for await (const _ of blob.stream({ end: 1_000 })) void _
      })
      return null
    }
    const whole = await attempt('bytes', () => blob.bytes())
    const streamed = await attempt('stream', async () => {
      const parts: Uint8Array[] = []
      for await (const part of blob.stream()) parts.push(part)
      return Buffer.concat(parts)
    })
    if (streamed.ok && streamed.value.length !== blob.size) {
      fail('no wrong byte', `${blob.name} of ${blob.size} bytes streams ${streamed.value.length}`)
    }
    if (whole.ok !== streamed.ok) {
      fail(
        'bytes and stream agree',
        `${blob.name}: ${[whole, streamed].map((got) => (got.ok ? 'ok' : `${got.code} ${got.message}`)).join(' and ')}`,
      )
    }
    if (!whole.ok) return { code: whole.code }
    const print = fingerprint(whole.value)
    if (whole.value.length !== blob.size) fail('no wrong byte', `${blob.name} has ${whole.value.length} bytes`)
    if (streamed.ok && fingerprint(streamed.value) !== print) fail('no wrong byte', `${blob.name} streams other bytes`)
    const right = subject.known.get(blob.cid)
    if (right !== undefined && right !== print) fail('no wrong byte', `${blob.name} has other bytes than its CID`)
    return { bytes: print }
  }

  return { subject, fail, attempt, reading, writing, read }
}

type Court = ReturnType<typeof createCourt>

async function judgeVerify(court: Court, image: DirectoryImage, seen: Seen): Promise<void> {
  for (const level of ['full', 'quick'] as const) {
    await court.reading(image, `verify ${level}`, async (store) => {
      const verified = await court.attempt(`verify ${level}`, () => store.verify({ level }))
      if (verified.ok) compareReport(court, verified.value, seen)
    })
  }
}

function compareReport({ fail }: Court, report: VerifyReport, { history, snapshots }: Seen): void {
  const { level } = report
  const found = report.problems.map(({ code, what }) => `${code} ${what.slice(0, 24)}`).join(', ')
  if (report.ok && history === null && report.revision !== null) {
    fail('verify and load agree', `verify ${level} is ok where no history can be read`)
  }
  for (const { sequence, intact, damagedBlobs } of report.snapshots) {
    const snapshot = snapshots.get(sequence)
    const state = snapshot === undefined ? null : loads(snapshot)
    if (snapshot === undefined || state === null) continue
    // Of a blob that is too large to be read here, nothing is known.
    const named = damagedBlobs.filter((name) => snapshot.blobs.get(name) !== null)
    const bad = [...snapshot.blobs].filter(([, blob]) => blob !== null && 'code' in blob).map(([name]) => name)
    if (state && !intact) {
      fail(
        'verify calls nothing damaged that loads',
        `${level}: ${damagedBlobs.join()} of snapshot ${sequence}: ${found}`,
      )
    } else if (!state && intact && level === 'full') {
      fail('verify calls nothing intact that does not load', `${snapshot.code ?? bad.join()} of snapshot ${sequence}`)
    } else if (level === 'full' && snapshot.code === null && !hasOther(snapshot) && !isDeepStrictEqual(bad, named)) {
      fail('verify names the blobs that do not load', `${damagedBlobs.join()}, and these do not: ${bad.join()}`)
    }
    if (report.ok && !state && level === 'full') fail('verify is ok only when all loads', `snapshot ${sequence}`)
  }
}

async function judgeFallback(court: Court, image: DirectoryImage, { history, snapshots }: Seen): Promise<void> {
  if (history === null) return
  const current = history.find((each) => each.current)
  if (current === undefined) return
  const candidates = history.filter(
    ({ sequence, abandoned }) => sequence === current.sequence || (sequence < current.sequence && !abandoned),
  )
  const states = candidates.map(({ sequence }) => ({ sequence, seen: snapshots.get(sequence) }))
  if (states.some(({ seen }) => seen === undefined || loads(seen) === null)) return
  // What a newer version wrote ends the search: it is no damage.
  const stops = states.findIndex(({ seen }) => loads(seen!) === true || hasOther(seen!))
  const right = stops === -1 || loads(states[stops]!.seen!) !== true ? null : states[stops]!.sequence
  for (const how of ['load', 'restore'] as const) {
    await court.reading(image, `${how} with fallback`, async (store) => {
      const got = await court.attempt(`${how} with fallback`, async () => {
        const snapshot =
          how === 'load'
            ? await store.load({ fallback: true })
            : (await store.restore(
                async (each) => {
                  for (const name of each.names) await each.blob(name).bytes()
                },
                { fallback: true },
              ))!.snapshot
        await snapshot!.dispose()
        return snapshot!.sequence
      })
      const sequence = got.ok ? got.value : null
      if (sequence !== right) {
        court.fail(
          'fallback gives the newest snapshot that loads',
          `${how}: ${sequence ?? (got.ok || got.code)} and not ${right}`,
        )
      }
    })
  }
}

const DAMAGE = /DAMAGED|MISSING|ROLLED_BACK/

function hasOther({ code, blobs }: SeenSnapshot): boolean {
  const codes = [code, ...[...blobs.values()].map((blob) => (blob !== null && 'code' in blob ? blob.code : null))]
  return codes.some((each) => each !== null && !DAMAGE.test(each))
}

async function judgeRepair(court: Court, image: DirectoryImage, seen: Seen): Promise<DirectoryImage | null> {
  const dry = await court.reading(image, 'repair, dry', (store) =>
    court.attempt('repair, dry', () => store.repair({ dryRun: true })),
  )
  let choice = {}
  const repaired = await court.writing(image, 'repair', async (store) => {
    const first = await court.attempt('repair', () => store.repair())
    if (first.ok || first.code !== 'STORE_ROLLED_BACK') return first
    choice = { rolledBack: court.subject.random.chance(0.5) ? 'newer' : 'older' }
    return await court.attempt('repair', () => store.repair(choice))
  })
  const { result } = repaired
  if (dry.ok !== result.ok && !('rolledBack' in choice)) {
    court.fail(
      'a dry repair says what a repair does',
      [dry, result].map((each) => (each.ok ? 'ok' : `${each.code} ${each.message}`)).join(' | '),
    )
  }
  if (dry.ok && result.ok && !('rolledBack' in choice) && !isDeepStrictEqual(dry.value.actions, result.value.actions)) {
    court.fail('a dry repair says what a repair does', 'other actions')
  }
  const after = await court.read(repaired.image)
  // Of two histories, one is chosen.
  if (!('rolledBack' in choice)) {
    compareAfter(court, seen, after, 'repair never loses what loaded')
  }
  if (!result.ok) return null
  await court.reading(repaired.image, 'verify after repair', async (store) => {
    const verified = await court.attempt('verify', () => store.verify())
    if (verified.ok && !verified.value.ok) {
      const { problems } = verified.value
      court.fail(
        'a repaired store is clean',
        `${result.value.applied ? 'applied' : 'nothing to do'}: ${problems
          .map(({ code, what, message }) => `${code} ${what.slice(0, 24)} ${message}`)
          .join('; ')
          .slice(0, 300)}`,
      )
    }
    const again = await court.attempt('repair again', () => store.repair({ dryRun: true }))
    if (!again.ok || !again.value.ok) {
      court.fail(
        'a second repair has nothing to do',
        again.ok ? JSON.stringify(again.value.actions).slice(0, 300) : again.code,
      )
    }
  })
  return result.value.applied ? repaired.image : null
}

function compareAfter({ fail }: Court, before: Seen, after: Seen, rule: string): void {
  for (const [sequence, snapshot] of before.snapshots) {
    if (loads(snapshot) !== true) continue
    const now = after.snapshots.get(sequence)
    if (now === undefined) {
      if ((after.history?.length ?? 0) <= 8) fail(rule, `snapshot ${sequence} is gone`)
    } else if (loads(now) !== true) fail(rule, `snapshot ${sequence} loads no more`)
    else if (!isDeepStrictEqual(now.blobs, snapshot.blobs))
      fail('no wrong byte', `${rule}: snapshot ${sequence} is another`)
  }
}

/**
 * Why a store that lists its snapshots may refuse a writer: its numbers are used up, it is for a newer version, or a
 * person must decide.
 */
const REFUSALS = ['LIMIT_EXCEEDED', 'VERSION_UNSUPPORTED', 'STORE_ROLLED_BACK', 'IO_FAILED']

/** What a persist acknowledges, another process reads; and what loaded before it, loads. */
async function judgePersist(court: Court, image: DirectoryImage, before: Seen, what: string): Promise<void> {
  const { next, random } = court.subject
  const first = random.pick(['nothing', 'load', 'verify'] as const)
  let knowsRot = court.subject.rotten === 0 || first === 'verify'
  const { result, image: after } = await court.writing(image, what, async (store) => {
    if (first === 'verify') await court.attempt('verify', () => store.verify())
    if (first === 'load') {
      const loaded = await court.attempt('load', () => loadAll(store))
      if (!loaded.ok && court.subject.rotten === 1) knowsRot = true
    }
    const persisted = await court.attempt(what, () => store.persist({ ...next, keepLast: 1_000 }))
    if (persisted.ok || !persisted.message.includes('persist again')) return persisted
    return await court.attempt(`${what} again`, () => store.persist({ ...next, keepLast: 1_000 }))
  })
  if (!result.ok) {
    if (before.history === null || REFUSALS.includes(result.code)) return
    return court.fail('a store with a history can be persisted to', `${what}: ${result.code} ${result.message}`)
  }
  const seen = await court.read(after)
  compareAfter(court, before, seen, 'a persist keeps what loaded')
  // A persist does not read the chunks that it finds in the store. What nobody has met yet may be among them.
  if (!knowsRot) return
  const got = seen.snapshots.get(result.value.sequence)
  for (const [name, input] of Object.entries(next.blobs as Record<string, { source: Uint8Array }>)) {
    const blob = got?.blobs.get(name)
    const right = fingerprint(input.source)
    if (blob === undefined || blob === null || 'code' in blob) {
      court.fail(
        'what a persist acknowledges can be read',
        `${what}, ${first} before: ${name} ${JSON.stringify(blob ?? got?.code ?? 'gone')}`,
      )
    } else if (blob.bytes !== right) court.fail('no wrong byte', `${name} after a ${what}`)
  }
}

async function loadAll(store: Store): Promise<void> {
  await using snapshot = await store.load()
  for (const name of snapshot?.names ?? []) {
    const blob = snapshot!.blob(name)
    if (blob.size <= READ_MAX) await blob.bytes()
  }
}
