import { isHoldfastError } from '../../src/errors.ts'
import { readFile } from '../../src/fs/io.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import type { Store } from '../../src/store.ts'
import { leastState, someState } from '../faulty-disk/crash-states.ts'
import { giveBack, startOver } from '../faulty-disk/determinism.ts'
import { type Call, createDisk, type Disk, type Fault, type Process } from '../faulty-disk/disk.ts'
import type { DirectoryImage } from '../faulty-disk/image.ts'
import type { Pending, RenameModel } from '../faulty-disk/names.ts'
import { createRandom, type Random } from '../support/random.ts'
import { assertTidy } from './check.ts'
import { FAULTS } from './faults.ts'
import { createLedger, type Ledger } from './ledger.ts'
import { contentOf, labelOf, openOn, persistOf } from './model.ts'
import { createSchedule, type Schedule } from './schedule.ts'

export interface Simulated {
  operations: number
  calls: number
  faults: number
  kills: number
  powerLosses: number
  /** Equal for equal runs. */
  trace: string
}

const LIFETIMES = 3
const OPERATIONS_EACH = 4
const TURNS_TO_CLOSE = 200

interface Machine {
  disk: Disk
  random: Random
  ledger: Ledger
  schedule: Schedule
  count: Simulated
  /** Processes that a fault has hit in the operation under way: that may fail now. */
  hit: Set<string>
  /** Of each process that ended by throwing. */
  failures: unknown[]
}

/**
 * A machine for some lifetimes: writers and readers at the same store, their calls interleaved, failing, killed; then
 * the power fails, and what is left is looked at. Everything that was ever seen is held against the ledger.
 */
export async function simulate(seed: number): Promise<Simulated> {
  const random = createRandom(seed)
  const ledger = createLedger()
  const count: Simulated = { operations: 0, calls: 0, faults: 0, kills: 0, powerLosses: 0, trace: '' }
  const rename = random.pick<RenameModel>(['atomic', 'both', 'parts'])
  let image: DirectoryImage | null = null
  let clock: { setTime(ms: number): void } | null = null
  const schedule = createSchedule(random, (ms) => clock!.setTime(ms))
  clock = startOver(seed, (atMs) => schedule.pauseUntil(atMs))
  const lines: string[] = []
  try {
    for (let lifetime = 0; lifetime < LIFETIMES; lifetime++) {
      const disk = createDisk(image, { rename, seed: random.below(2 ** 31) })
      const machine: Machine = { disk, random, ledger, schedule, count, hit: new Set(), failures: [] }
      try {
        image = await live(machine)
      } finally {
        lines.push(...disk.log)
      }
      if (machine.failures.length > 0) throw machine.failures[0]
      image = await recover(image, machine)
    }
  } catch (cause) {
    const message = `seed ${seed}: ${(cause as Error).message}\nthe last calls:\n${lines.slice(-60).join('\n')}`
    throw new Error(message, { cause })
  } finally {
    giveBack()
  }
  count.trace = lines.join('\n')
  return count
}

/** From power-on to power failure. Answers what the disk holds then. */
async function live(machine: Machine): Promise<DirectoryImage> {
  const { disk, random, schedule, count, ledger } = machine
  const processes = ['reader', 'writer a', 'writer b', 'writer c']
    .slice(0, 2 + random.below(3))
    .map((name) => disk.start(name))
  const likelihood = random.pick([0, 0.003, 0.02])
  disk.onCall = (call) => (random.chance(likelihood) ? faultFor(machine, call) : undefined)
  disk.gate = (call) => schedule.gate(call)
  // The power fails in the middle of it all, or when all is done.
  let left = random.chance(0.7) ? 20 + random.below(700) : Number.POSITIVE_INFINITY
  let pending: Pending | null = null
  function fail(): void {
    pending = disk.pending()
    ledger.powerFails()
    disk.kill()
  }
  await schedule.run(
    processes.map((process) => behave(machine, process)),
    () => {
      count.calls += 1
      left -= 1
      if (left === 0) fail()
      if (pending !== null || !random.chance(0.0015)) return
      count.kills += 1
      random.pick(processes).kill()
    },
  )
  if (pending === null) fail()
  count.powerLosses += 1
  return random.chance(0.3) ? leastState(pending!) : someState(pending!, random)
}

function faultFor({ random, hit, count }: Machine, { name, process }: Call): Fault | undefined {
  const fault = random.pick(FAULTS[name])
  // Another process that fsyncs a directory which the kernel takes for clean cannot know what was lost; only the one
  // that was told can.
  if (name === 'syncDirectory' && fault.lose === true) return undefined
  hit.add(process)
  count.faults += 1
  return fault
}

/** What one process does until it is done, or dead. */
async function behave(machine: Machine, process: Process): Promise<void> {
  const { random, hit, count, failures } = machine
  const reads = process.name === 'reader'
  const store = openOn(process, { readOnly: reads, keepLast: 1 + random.below(3) })
  const held: { snapshot: Snapshot; label: string }[] = []
  for (let i = 0; i < OPERATIONS_EACH; i++) {
    hit.delete(process.name)
    const operation = reads ? 'load' : random.pick(OPERATIONS)
    try {
      await perform[operation](machine, process, store, held)
      count.operations += 1
    } catch (error) {
      if (!process.alive) return
      if (!isExpected(error, hit.has(process.name))) {
        failures.push(new Error(`${process.name}, ${operation}: ${(error as Error).message}`, { cause: error }))
      }
    }
  }
  for (const { snapshot } of held) await snapshot.dispose().catch(() => undefined)
  // What an operation does not wait for, such as the end of a pack that nobody reads any more, has its turn.
  for (let turn = 0; turn < TURNS_TO_CLOSE && process.alive && process.openFiles().length > 0; turn++) {
    await machine.schedule.pauseUntil(machine.schedule.nowMs + 1)
  }
  if (process.alive && process.openFiles().length > 0)
    failures.push(new Error(`${process.name} leaves open ${process.openFiles().join()}`))
}

/**
 * Faults may fail an operation, but never look like damage. Without one, only what another process took away may be
 * missing.
 */
function isExpected(error: unknown, wasHit: boolean): boolean {
  if (error instanceof HitOurselves) return true
  if (!isHoldfastError(error)) return false
  if (error.code === 'SNAPSHOT_NOT_FOUND') return true
  return wasHit && ['environment', 'busy', 'conflict'].includes(error.kind)
}

/** A fault that met a call of the test's own. */
class HitOurselves extends Error {}

type Operation = (
  machine: Machine,
  process: Process,
  store: Store,
  held: { snapshot: Snapshot; label: string }[],
) => Promise<void>

const perform = {
  async persist({ random, ledger }, process, store) {
    const label = `${random.pick(['a', 'b', 'c'])}/${random.below(2 ** 31)}`
    ledger.attempted(label)
    const { sequence } = await store.persist({ ...persistOf(label), message: process.name })
    ledger.acknowledged(sequence, label)
  },
  /** What is current, or just was. */
  async persistAgain({ ledger }, _process, store) {
    await using snapshot = await store.load()
    const label = snapshot === null ? 'a/1' : await labelOf(snapshot)
    ledger.attempted(label)
    const { sequence } = await store.persist(persistOf(label))
    ledger.acknowledged(sequence, label)
  },
  async load({ ledger, random }, _process, store, held) {
    const floor = ledger.floor()
    const snapshot = await store.load()
    if (snapshot === null) {
      if (floor > 0) throw new Error(`nothing was loaded where there was snapshot ${floor}`)
      return
    }
    try {
      const label = await labelOf(snapshot)
      ledger.seen(snapshot.sequence, label, floor)
      // It stays readable for as long as it is held, whatever is deleted meanwhile.
      if (random.chance(0.5)) held.push({ snapshot, label })
    } finally {
      if (!held.some((each) => each.snapshot === snapshot)) await snapshot.dispose()
    }
    for (const each of held) {
      if ((await labelOf(each.snapshot)) !== each.label) throw new Error(`snapshot ${each.snapshot.sequence} changed`)
    }
  },
  async history({ ledger }, _process, store) {
    for (const { sequence } of await store.snapshots()) {
      await using snapshot = await store.load({ at: sequence })
      ledger.seen(sequence, await labelOf(snapshot!), 0)
    }
  },
  async tag({ random, ledger }, process, store) {
    const kept = await store.snapshots()
    if (kept.length === 0) return
    const { sequence } = random.pick(kept)
    const tagging = ledger.tagging(process.name, sequence)
    await refusable(tagging, () => store.tag(process.name, { at: sequence }))
  },
  async untag({ ledger }, process, store) {
    if ((await store.snapshots()).length === 0) return
    const tagging = ledger.tagging(process.name, null)
    await refusable(tagging, () => store.untag(process.name))
  },
  async rollback({ random, ledger }, _process, store) {
    const kept = await store.snapshots()
    if (kept.length === 0) return
    const target = random.pick(kept)
    await using snapshot = await store.load({ at: target.sequence })
    const label = await labelOf(snapshot!)
    const { sequence } = await store.rollback(target.sequence)
    ledger.acknowledged(sequence, label)
  },
  async layOut({ hit }, process, store) {
    await using snapshot = await store.load()
    if (snapshot === null) return
    const label = await labelOf(snapshot)
    const path = await snapshot.blob('index').file()
    const bytes = await readFile(process.fs, path, 10_000).catch((error: unknown) => {
      throw hit.has(process.name) ? new HitOurselves('', { cause: error }) : error
    })
    if (Buffer.compare(bytes, contentOf(label).index!) === 0) return
    throw new Error(`the file laid out has ${bytes.length} bytes that are not those of ${label}`)
  },
  async verify({ hit }, process, store) {
    const report = await store.verify()
    // What it could not look at, it reports.
    const unread =
      hit.has(process.name) && report.problems.some(({ code }) => code === 'IO_FAILED' || code === 'NO_SPACE')
    if (!report.ok && !unread) throw new Error(`verify: ${JSON.stringify(report.problems)}`)
  },
} satisfies Record<string, Operation>

const OPERATIONS = [
  ...(['persist', 'persist', 'persist', 'persist', 'persistAgain', 'load', 'load', 'history'] as const),
  ...(['tag', 'untag', 'rollback', 'layOut', 'verify'] as const),
]

/** Nothing was changed when there is no such snapshot (any more). */
async function refusable(tagging: { done(): void; refused(): void }, work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
    tagging.done()
  } catch (error) {
    if (isHoldfastError(error, 'SNAPSHOT_NOT_FOUND')) tagging.refused()
    throw error
  }
}

/** A new process on what the power loss left. Answers what the disk holds when it was shut down properly. */
async function recover(image: DirectoryImage, { ledger, count }: Machine): Promise<DirectoryImage> {
  const disk = createDisk(image)
  const store = openOn(disk.start('after the power loss'))
  const floor = ledger.floor()
  const snapshot = await store.load()
  if (snapshot === null && floor > 0) throw new Error(`nothing is left, and ${floor} was acknowledged`)
  if (snapshot !== null) ledger.seen(snapshot.sequence, await labelOf(snapshot), floor)
  await snapshot?.dispose()
  const tags = new Map<string, number>()
  for (const { sequence, tags: names } of await store.snapshots()) {
    await using each = await store.load({ at: sequence })
    ledger.seen(sequence, await labelOf(each!), 0)
    for (const name of names) tags.set(name, sequence)
  }
  ledger.tagsSeen(tags)
  const label = `after/${count.powerLosses}`
  ledger.attempted(label)
  ledger.acknowledged((await store.persist(persistOf(label))).sequence, label)
  const report = await store.verify()
  if (!report.ok) throw new Error(`verify after the power loss: ${JSON.stringify(report.problems)}`)
  assertTidy(disk.image(), 0)
  await store.close()
  return disk.image()
}
