import { HoldfastError, isDamage } from '../errors.ts'
import { parseCid } from '../format/cid.ts'
import type { Head, HeadSnapshot } from '../format/head.ts'
import { DIGEST_BYTES } from '../format/limits.ts'
import { decodeManifest } from '../format/manifest.ts'
import type { OnProgress } from '../progress.ts'
import type { StoredHead } from '../storage/port.ts'
import { type Blame, type BlockSource, entryOf, slotOf } from './blocks.ts'
import { chunkRuns } from './chunks.ts'
import { type Environment, noteBadBlock, openPacks, openSourceOf } from './environment.ts'
import type { OpenPack } from './packs.ts'
import { scanPack } from './scan-pack.ts'

export interface VerifyOptions {
  /** `quick`: every structure, no blob bytes. `full` (default): every stored byte as well. */
  level?: 'quick' | 'full'
  signal?: AbortSignal
  onProgress?: OnProgress
}

/** One thing that is wrong. */
export interface Problem {
  /** An error code: what a load that met this would throw. */
  code: HoldfastError['code']
  /** What it is about: `HEAD.json`, `pack …`, `block … in pack …`, `snapshot 7`. */
  what: string
  message: string
  /** Pack name, if it is about a pack or a block. */
  pack?: string
  /** Hex digest, if it is about a block. */
  block?: string
  /** Another pack has a good copy: nothing is lost. */
  copied?: boolean
}

/** What is wrong with one snapshot. */
export interface SnapshotHealth {
  sequence: number
  manifest: string
  intact: boolean
  /** Names of blobs that cannot be read in full; all of them when the manifest cannot be read (then `manifestLost`). */
  damagedBlobs: string[]
  manifestLost: boolean
}

export interface VerifyReport {
  /** Nothing is wrong. */
  ok: boolean
  location: string
  level: 'quick' | 'full'
  /** HEAD's revision that was verified; null when there is no store, or no HEAD that can be read. */
  revision: number | null
  problems: Problem[]
  snapshots: SnapshotHealth[]
  checked: { packs: number; blocks: number; bytes: number }
  /** What to do, in words; empty when `ok`. */
  advice: string
  durationMs: number
}

/** Looks at everything and changes nothing. Damage is in the report; it throws only when it cannot look at all. */
export async function verify(env: Environment, options: VerifyOptions = {}): Promise<VerifyReport> {
  const startMs = performance.now()
  const level = options.level ?? 'full'
  if (level !== 'quick' && level !== 'full')
    throw new TypeError(`verify: level is 'quick' or 'full', got ${String(level)}`)
  const { problems, stored, unmade, pinned } = await pinStore(env)
  const report: VerifyReport = {
    ok: false,
    location: env.storage.location,
    level,
    revision: stored?.head.revision ?? null,
    problems,
    snapshots: [],
    checked: { packs: 0, blocks: 0, bytes: 0 },
    advice: '',
    durationMs: 0,
  }
  try {
    if (stored !== null) await verifyPacks(env, stored, pinned, report, options)
  } finally {
    for (const pack of pinned.packs) await pack.release()
  }
  report.ok = problems.length === 0 && (stored !== null || unmade)
  report.advice = adviceFor(report)
  report.durationMs = performance.now() - startMs
  return report
}

interface Pinned {
  packs: readonly OpenPack[]
  failures: readonly HoldfastError[]
}

/** A writer that moves on while we open what HEAD names makes packs look missing; then HEAD is read again. */
const PIN_TRIES = 16

async function pinStore(
  env: Environment,
): Promise<{ problems: Problem[]; stored: StoredHead | null; unmade: boolean; pinned: Pinned }> {
  for (let tries = 1; ; tries++) {
    const problems: Problem[] = []
    const { stored, unmade } = await verifyHeads(env, problems)
    if (stored === null) return { problems, stored, unmade, pinned: { packs: [], failures: [] } }
    const pinned = await openPacks(
      env,
      stored,
      stored.head.packs.map(({ name }) => name),
    )
    const moved = pinned.failures.length > 0 && (await headMoved(env, stored))
    if (!moved || tries >= PIN_TRIES) return { problems, stored, unmade, pinned }
    for (const pack of pinned.packs) await pack.release()
  }
}

async function headMoved(env: Environment, stored: StoredHead): Promise<boolean> {
  const { head } = await env.storage.inspect()
  return head.state === 'good' && head.value.head.revision !== stored.head.revision
}

async function verifyHeads(
  env: Environment,
  problems: Problem[],
): Promise<{ stored: StoredHead | null; unmade: boolean }> {
  const { previous } = await env.storage.inspect()
  if (previous.state === 'damaged') {
    problems.push({
      code: 'HEAD_DAMAGED',
      what: 'HEAD.prev.json',
      message: `${previous.error.message}; it is only a spare, the next write replaces it`,
    })
  }
  try {
    const stored = await env.storage.readHead()
    return { stored, unmade: stored === null }
  } catch (error) {
    if (!isDamage(error)) throw error
    problems.push({ code: error.code, what: 'HEAD.json', message: error.message })
    return { stored: null, unmade: false }
  }
}

async function verifyPacks(
  env: Environment,
  stored: StoredHead,
  pinned: Pinned,
  report: VerifyReport,
  options: VerifyOptions,
): Promise<void> {
  const { head } = stored
  for (const error of pinned.failures) report.problems.push(packProblem(error))
  const source = await openSourceOf(env, pinned.packs, pinned.failures)
  for (const pack of pinned.packs) {
    if (source.packs.includes(pack)) continue
    await pack.index().catch((error) => report.problems.push(packProblem(error as HoldfastError, pack.name)))
  }
  for (const [slot, pack] of source.packs.entries()) comparePack(head, pack, source.indexes[slot]!.blocks, report)

  const bad = recordedBad(head, source)
  if (options.level !== 'quick') {
    const totalBytes = source.packs.reduce((sum, { file }) => sum + file.bytes, 0)
    for (const [slot, pack] of source.packs.entries()) {
      for await (const step of scanPack(pack.file, source.indexes[slot]!)) {
        options.signal?.throwIfAborted()
        report.checked.blocks += step.blocks
        report.checked.bytes += step.bytes
        for (const { entry } of step.bad) bad.add(pack.name, source.indexes[slot]!.digest(entry))
        options.onProgress?.({ phase: 'verifying', bytes: report.checked.bytes, totalBytes })
      }
      report.checked.packs += 1
    }
  }
  for (const { pack, digest } of bad.list()) {
    const copied = goodCopy(source, bad, digest)
    const block = Buffer.from(digest).toString('hex')
    // From now on persists of this store object do not count on it, and write it anew.
    noteBadBlock(env, pack, digest)
    report.problems.push({
      code: 'PACK_DAMAGED',
      what: `block ${block} in pack ${pack}`,
      message: `the bytes are not what was written${copied ? '; another pack has a good copy' : ''}`,
      pack,
      block,
      copied,
    })
  }
  for (const snapshot of head.snapshots) {
    options.signal?.throwIfAborted()
    report.snapshots.push(await verifySnapshot(env, source, bad, snapshot, report.problems))
  }
}

function packProblem(error: HoldfastError, name?: string): Problem {
  const pack = name ?? (error.details.pack as string | undefined)
  return {
    code: error.code,
    what: `pack ${pack ?? '?'}`,
    message: error.message,
    ...(pack === undefined ? {} : { pack }),
  }
}

function comparePack(head: Head, pack: OpenPack, blocks: number, report: VerifyReport): void {
  const said = head.packs.find(({ name }) => name === pack.name)!
  if (said.bytes === pack.file.bytes && said.blocks === blocks) return
  report.problems.push({
    code: 'PACK_DAMAGED',
    what: `pack ${pack.name}`,
    message: `it has ${pack.file.bytes} bytes and ${blocks} blocks, HEAD says ${said.bytes} and ${said.blocks}`,
    pack: pack.name,
  })
}

/** Blocks known to be bad, by pack. */
interface BadSet {
  add(pack: string, digest: Uint8Array): void
  has(pack: string, digest: Uint8Array): boolean
  readonly size: number
  list(): { pack: string; digest: Uint8Array }[]
}

function createBadSet(): BadSet {
  const digests = new Map<string, Set<string>>()
  let size = 0
  return {
    add(pack, digest) {
      const hex = Buffer.from(digest).toString('hex')
      const of = digests.get(pack) ?? new Set()
      if (!of.has(hex)) size += 1
      digests.set(pack, of.add(hex))
    },
    has: (pack, digest) => digests.get(pack)?.has(Buffer.from(digest).toString('hex')) ?? false,
    get size() {
      return size
    },
    list: () => [...digests].flatMap(([pack, of]) => [...of].map((hex) => ({ pack, digest: Buffer.from(hex, 'hex') }))),
  }
}

function recordedBad(head: Head, source: BlockSource): BadSet {
  const bad = createBadSet()
  const readable = new Set(source.packs.map(({ name }) => name))
  for (const { pack, digests } of head.damaged) {
    if (readable.has(pack)) for (const hex of digests) bad.add(pack, Buffer.from(hex, 'hex'))
  }
  return bad
}

function goodCopy(source: BlockSource, bad: BadSet, digest: Uint8Array): boolean {
  return source.indexes.some(
    (index, slot) => index.find(digest, 0) !== -1 && !bad.has(source.packs[slot]!.name, digest),
  )
}

/** Every block of the snapshot must be there, good, and as long as its parent says. */
async function verifySnapshot(
  env: Environment,
  source: BlockSource,
  bad: BadSet,
  snapshot: HeadSnapshot,
  problems: Problem[],
): Promise<SnapshotHealth> {
  const { sequence, manifest } = snapshot
  const health: SnapshotHealth = { sequence, manifest, intact: true, damagedBlobs: [], manifestLost: false }
  const where = { location: env.storage.location, sequence }
  const blame: Blame = { code: 'SNAPSHOT_DAMAGED', what: `snapshot ${sequence}`, details: where }

  async function attempt(work: () => Promise<void>): Promise<boolean> {
    try {
      await work()
      return true
    } catch (error) {
      if (!isDamage(error)) throw error
      health.intact = false
      problems.push({ code: error.code, what: `snapshot ${sequence}`, message: error.message })
      return false
    }
  }

  const readable = await attempt(async () => {
    const { blobs } = decodeManifest(await source.read(parseCid(manifest).digest, blame))
    for (const [name, entry] of blobs) {
      const blobBlame: Blame = {
        code: 'BLOB_DAMAGED',
        what: `blob ${JSON.stringify(name)} of snapshot ${sequence}`,
        details: { ...where, blob: name },
      }
      const whole = await attempt(async () => {
        if (entry.segments !== undefined) await source.read(entry.segments, blobBlame)
        for await (const run of chunkRuns(source, entry, blobBlame)) {
          for (let i = 0; i < run.count; i++) assertChunk(run.digests, i * DIGEST_BYTES, run.lengths[i]!, blobBlame)
        }
      })
      if (!whole) health.damagedBlobs.push(name)
    }
  })
  if (!readable) health.manifestLost = true
  return health

  function assertChunk(digests: Uint8Array, at: number, length: number, blobBlame: Blame): void {
    const place = source.find(digests, at)
    const found = place === -1 ? -1 : source.indexes[slotOf(place)]!.rawLength(entryOf(place))
    const isBad =
      place !== -1 &&
      bad.size > 0 &&
      bad.has(source.packs[slotOf(place)]!.name, digests.subarray(at, at + DIGEST_BYTES))
    if (found === length && (!isBad || goodCopy(source, bad, digests.subarray(at, at + DIGEST_BYTES)))) return
    const block = Buffer.from(digests.subarray(at, at + DIGEST_BYTES)).toString('hex')
    const why = place === -1 ? 'is in no pack' : isBad ? 'is damaged' : `has ${found} bytes, not ${length}`
    throw new HoldfastError(blobBlame.code, `${blobBlame.what} is damaged: block ${block.slice(0, 16)}… ${why}`, {
      details: { ...blobBlame.details, block },
    })
  }
}

function adviceFor(report: VerifyReport): string {
  if (report.ok) return ''
  if (report.revision === null) {
    return 'HEAD cannot be read, so nothing loads. repair({ dryRun: true }) shows what can be rebuilt from HEAD.prev.json and the packs.'
  }
  const current = report.snapshots[0]
  if (report.snapshots.every(({ intact }) => intact)) {
    return 'Every snapshot can be loaded in full. Persisting again, or repair(), replaces what is bad.'
  }
  const intact = report.snapshots.filter((snapshot) => snapshot.intact).map(({ sequence }) => sequence)
  const loads = intact.length > 0 ? `Snapshots ${intact.join(', ')} load in full` : 'No snapshot loads in full'
  const heal = current?.intact === false ? 'Persisting the same content again heals what it contains; ' : ''
  return `${loads}. ${heal}repair() rescues the good blocks and drops only snapshots that are truly incomplete.`
}
