import { type HoldfastError, isHoldfastError } from '../../src/errors.ts'
import type { Store } from '../../src/store.ts'
import { leastState, someState } from '../faulty-disk/crash-states.ts'
import { type Call, type CallName, createDisk, type Disk, type Fault } from '../faulty-disk/disk.ts'
import { type DirectoryImage, walk } from '../faulty-disk/image.ts'
import { createRandom, type Random } from '../support/random.ts'
import { assertTidy, observeImage } from './check.ts'
import { type Context, contextOn, prepared, type Scenario } from './explore.ts'
import { labelOf, openOn, persistOf, STORE } from './model.ts'

/** What each call may answer, according to its manual page and to kernels in the wild. */
export const FAULTS: Readonly<Record<CallName, readonly Fault[]>> = {
  open: errors('EMFILE', 'ENFILE', 'EIO', 'EACCES', 'EINTR', 'ENOSPC'),
  read: [...errors('EIO', 'EINTR'), { short: 1 }],
  write: [
    ...errors('ENOSPC', 'EIO', 'EINTR', 'EFBIG', 'EDQUOT'),
    { short: 1 },
    { short: 100 },
    { writebackFails: true },
    { error: 'EIO', done: true },
  ],
  sync: [...errors('EIO', 'ENOSPC', 'EINTR'), { error: 'EIO', lose: true }],
  dataSync: [...errors('EIO', 'ENOSPC', 'EINTR'), { error: 'EIO', lose: true }],
  fstat: errors('EIO'),
  fchmod: errors('EIO', 'EPERM'),
  lock: errors('ENOLCK', 'EIO'),
  close: errors('EIO', 'EINTR', 'ENOSPC'),
  rename: [...errors('EIO', 'ENOSPC', 'EACCES'), { error: 'EIO', done: true }],
  link: [...errors('EIO', 'ENOSPC', 'EPERM', 'EMLINK'), { error: 'EIO', done: true }],
  clone: [...errors('ENOTSUP', 'EIO', 'ENOSPC'), { error: 'EIO', done: true }],
  unlink: [...errors('EIO', 'EACCES'), { error: 'EIO', done: true }],
  mkdir: errors('ENOSPC', 'EACCES', 'EIO'),
  rmdir: errors('EIO', 'EACCES'),
  readdir: errors('EIO', 'EMFILE', 'EACCES'),
  stat: errors('EIO', 'EACCES'),
  lstat: errors('EIO', 'EACCES'),
  realpath: errors('EIO', 'EACCES'),
  chmod: errors('EPERM', 'EIO'),
  syncDirectory: [...errors('EIO', 'ENOSPC'), { error: 'EIO', lose: true }],
}

function errors(...codes: string[]): Fault[] {
  return codes.map((error) => ({ error }))
}

/**
 * What may go wrong with a call. What a directory's fsync forgets is written only with another change of that
 * directory: HEAD is renamed once more for that; a directory that was made and forgotten stays so. (No file system with
 * a journal forgets like this.)
 */
export function faultsFor({ name, path }: Call): readonly Fault[] {
  const above = path !== STORE && STORE.startsWith(path)
  return FAULTS[name].filter(({ lose }) => !(above && lose === true && name === 'syncDirectory'))
}

/** What goes wrong with a disk, or with the machine, from some call on and until somebody looks after it. */
export const OUTAGES: Readonly<Record<string, (call: Call) => Fault | undefined>> = {
  'a full disk': ({ name, path }) =>
    ['write', 'mkdir', 'link', 'clone'].includes(name) || (name === 'open' && /\/\.?tmp\//.test(path))
      ? { error: 'ENOSPC' }
      : undefined,
  'no descriptors left': ({ name }) => (['open', 'readdir'].includes(name) ? { error: 'EMFILE' } : undefined),
  'a file system turned read-only': ({ name }) =>
    ['write', 'mkdir', 'rename', 'link', 'clone', 'unlink', 'rmdir', 'chmod', 'fchmod'].includes(name)
      ? { error: 'EROFS' }
      : undefined,
  'a dead device': ({ name }) => (['close', 'lock'].includes(name) ? undefined : { error: 'EIO' }),
}

/** A scenario that was run once without faults. */
export interface Rehearsed {
  scenario: Scenario
  start: DirectoryImage
  calls: readonly Call[]
  /** What is seen before the first step and after each. */
  milestones: readonly string[]
}

export async function rehearse(scenario: Scenario): Promise<Rehearsed> {
  const start = await prepared(scenario)
  const disk = createDisk(start)
  const calls: Call[] = []
  disk.onCall = (call) => {
    calls.push(call)
    return undefined
  }
  const context = contextOn(disk, scenario)
  const milestones = [await observeImage(createDisk(start), scenario)]
  for (const step of scenario.steps) {
    await step(context)
    milestones.push(await observeImage(createDisk(disk.image()), scenario))
  }
  return { scenario, start, calls, milestones }
}

export interface Injected {
  faults: number
  /** Operations that succeeded all the same. */
  survived: number
}

/** Runs a scenario once for each call and each fault that `choose` names for it. */
export async function injectFaults(
  rehearsed: Rehearsed,
  choose: (call: Call, random: Random) => readonly Fault[],
  seed: number,
): Promise<Injected> {
  const random = createRandom(seed)
  const injected: Injected = { faults: 0, survived: 0 }
  for (const call of rehearsed.calls) {
    for (const fault of choose(call, random)) {
      const faultOf = ({ number }: Call): Fault | undefined => (number === call.number ? fault : undefined)
      if (await runWith(rehearsed, faultOf, call.number, random)) injected.survived += 1
      injected.faults += 1
    }
  }
  return injected
}

/** Runs a scenario once for every `stride`-th call, from which on everything fails that the outage concerns. */
export async function injectOutage(
  rehearsed: Rehearsed,
  outage: (call: Call) => Fault | undefined,
  stride: number,
  seed: number,
): Promise<Injected> {
  const random = createRandom(seed)
  const injected: Injected = { faults: 0, survived: 0 }
  for (let from = 1 + random.below(stride); from <= rehearsed.calls.length; from += stride) {
    const faultOf = (call: Call): Fault | undefined => (call.number >= from ? outage(call) : undefined)
    if (await runWith(rehearsed, faultOf, from, random)) injected.survived += 1
    injected.faults += 1
  }
  return injected
}

async function runWith(
  rehearsed: Rehearsed,
  faultOf: (call: Call) => Fault | undefined,
  number: number,
  random: Random,
): Promise<boolean> {
  const disk = createDisk(rehearsed.start, { seed: random.below(2 ** 31) })
  try {
    return await checkWithFaults(rehearsed, disk, faultOf, random)
  } catch (cause) {
    const at = disk.log.findIndex((line) => line.startsWith(`${number} `))
    const around = disk.log.slice(Math.max(0, at - 8), at + 12).join('\n')
    throw new Error(`${rehearsed.scenario.name}, call ${number}: ${(cause as Error).message}\n${around}`, { cause })
  }
}

/**
 * Each step either succeeds, and what it did is durable; or fails in a way that a caller can understand, and nothing
 * has changed. When the disk is well again, the same open store goes on. Answers whether all steps succeeded.
 */
async function checkWithFaults(
  rehearsed: Rehearsed,
  disk: Disk,
  faultOf: (call: Call) => Fault | undefined,
  random: Random,
): Promise<boolean> {
  const { scenario, milestones } = rehearsed
  const context = contextOn(disk, scenario)
  const tempsBefore = tempsIn(disk.image())
  // The whole of a failed unlink is that something stays.
  let cannotTidy = false
  // The engine's own failure to save is its caller's to look into.
  const kinds = ['environment', 'busy']
  disk.onCall = (call) => {
    const fault = faultOf(call)
    if (fault?.error !== undefined && call.path.endsWith('.d/blob')) kinds.push('input')
    if (fault?.error !== undefined && isTidying(call)) cannotTidy = true
    return fault
  }
  let failed: { step: number; error: unknown } | null = null
  for (const [step, run] of scenario.steps.entries()) {
    const error = await run(context).then(
      () => null,
      (thrown: unknown) => ({ thrown }),
    )
    if (error !== null) {
      failed = { step, error: error.thrown }
      break
    }
    await assertSeen(
      leastState(disk.pending()),
      milestones[step + 1]!,
      scenario,
      'acknowledged, but after a power loss',
    )
  }
  disk.onCall = null
  if (failed !== null) {
    const { code } = assertUnderstandable(failed.error, kinds)
    assertNotForDescriptors(failed.error)
    if (code !== 'COMMIT_UNKNOWN') await assertUnchanged(disk, milestones[failed.step]!, scenario, code, random)
    const temps = tempsIn(disk.image()).filter((path) => !tempsBefore.includes(path))
    if (temps.length > 0 && !cannotTidy) throw new Error(`temps are left: ${temps.join(', ')}`)
    if (context.process.openFiles().length > 0) throw new Error(`left open: ${context.process.openFiles().join()}`)
    await tryAgain(() => scenario.steps[failed.step]!(context), failed.error)
    const now = await observeImage(createDisk(disk.image()), scenario)
    await assertSeen(
      leastState(disk.pending()),
      now,
      scenario,
      'acknowledged at the second try, but after a power loss',
    )
  }
  await assertGoesOn(context)
  return failed === null
}

/** False: there was nothing left to do. */
async function tryAgain(step: () => Promise<void>, before: unknown): Promise<boolean> {
  try {
    await step()
    return true
  } catch (error) {
    // A tag that was taken away without our being told cannot be taken away again.
    if (!isHoldfastError(before, 'COMMIT_UNKNOWN') || !isHoldfastError(error, 'SNAPSHOT_NOT_FOUND')) throw error
    return false
  }
}

async function assertSeen(image: DirectoryImage, expected: string, scenario: Scenario, when: string): Promise<void> {
  const seen = await observeImage(createDisk(image), scenario)
  if (seen !== expected) throw new Error(`${when} there is\n${seen || '(nothing)'}\nand not\n${expected}`)
}

function assertUnderstandable(error: unknown, kinds: readonly string[]): HoldfastError {
  if (!isHoldfastError(error)) throw new Error(`not an error of ours: ${String(error)}`, { cause: error })
  if (kinds.includes(error.kind)) return error
  throw new Error(`a fault of the disk was taken for ${error.code} (${error.kind}): ${error.message}`, { cause: error })
}

/** All that is needed after a rename is open before it. */
function assertNotForDescriptors(error: unknown): void {
  const code = (error as { cause?: { code?: string } }).cause?.code
  if (!isHoldfastError(error, 'COMMIT_UNKNOWN') || (code !== 'EMFILE' && code !== 'ENFILE')) return
  throw new Error(`in doubt for want of a descriptor: ${error.message}`, { cause: error })
}

async function assertUnchanged(
  disk: Disk,
  before: string,
  scenario: Scenario,
  code: string,
  random: Random,
): Promise<void> {
  await assertSeen(disk.image(), before, scenario, `after ${code}`)
  await assertSeen(leastState(disk.pending()), before, scenario, `after ${code} and a power loss`)
  if (random.chance(0.3)) {
    await assertSeen(someState(disk.pending(), random), before, scenario, `after ${code} and another power loss`)
  }
}

function isTidying({ name, path }: Call): boolean {
  return ['unlink', 'rmdir', 'lock', 'readdir'].includes(name) || (name === 'lstat' && path.endsWith('.d'))
}

function tempsIn(image: DirectoryImage): string[] {
  return [...walk(image)].map(([path]) => path).filter((path) => /\/\.?tmp\/./.test(path))
}

/** The next persist of the same open store succeeds and is durable, and everything is tidy after the one behind it. */
async function assertGoesOn({ disk, store, process }: Context): Promise<void> {
  const { sequence } = await store.persist(persistOf('again/1'))
  await assertLoads(store, sequence)
  await assertLoads(openOn(createDisk(leastState(disk.pending())).start()), sequence)
  const report = await store.verify()
  if (!report.ok) throw new Error(`verify: ${JSON.stringify(report.problems)}`)
  // What is retired now is deleted by the next.
  await store.persist(persistOf('again/2'))
  assertTidy(disk.image(), 2)
  await store.close()
  if (process.openFiles().length > 0) throw new Error(`left open: ${process.openFiles().join()}`)
}

async function assertLoads(store: Store, sequence: number): Promise<void> {
  await using snapshot = await store.load({ required: true })
  if (snapshot!.sequence !== sequence || (await labelOf(snapshot!)) !== 'again/1') {
    throw new Error(`${STORE} has snapshot ${snapshot!.sequence}, and ${sequence} was acknowledged`)
  }
}
