import type { Store, StoreOptions } from '../../src/store.ts'
import { crashStates, leastState, someState } from '../faulty-disk/crash-states.ts'
import { createDisk, type Disk, type Process } from '../faulty-disk/disk.ts'
import { type DirectoryImage, keyOf, walk } from '../faulty-disk/image.ts'
import type { Pending, RenameModel } from '../faulty-disk/names.ts'
import { sample, seeded, share } from '../support/effort.ts'
import type { Random } from '../support/random.ts'
import { type CheckOptions, checkRecovery, observeImage } from './check.ts'
import { type Contents, openOn } from './model.ts'

/** What is run, and run into a crash at every call that changes the disk. */
export interface Scenario {
  name: string
  /** Makes the disk that the steps start from, all of it durable. */
  prepare?: (context: Context) => Promise<void>
  /** Each is acknowledged when it resolves: from then on what it did must be there. */
  steps: readonly ((context: Context) => Promise<void>)[]
  /** What else may be seen while a step runs that does several things. */
  between?: readonly string[]
  store?: StoreOptions
  contents?: Contents
  /** Things that the steps move to quarantine. */
  quarantined?: number
  /** States to look at for each crash point. */
  limit?: number
  /** How many of a state's recoveries are run into crashes as well, from 0 to 1. */
  nested?: number
  /** What else must hold in every state; `acknowledged` steps were done for certain. */
  alsoCheck?: (image: DirectoryImage, acknowledged: number, rename: RenameModel) => Promise<void> | void
}

export interface Context {
  disk: Disk
  process: Process
  store: Store
  /** Another open of the same store, in a process of its own. */
  other(options?: StoreOptions): { process: Process; store: Store }
}

export interface Explored {
  /** Crash points looked at: calls that change the disk, and the end of each step. */
  points: number
  /** Legal states looked at. */
  states: number
  /** Of these, different ones: each was recovered from and checked. */
  distinct: number
  /** States of a disk that crashed again while it recovered. */
  nested: number
}

export interface Point {
  pending: Pending
  /** What may be seen after a crash here. */
  allowed: readonly string[]
  acknowledged: number
  /** What had been done, for messages. */
  log: readonly string[]
}

export const RENAME_MODELS: readonly RenameModel[] = ['atomic', 'both', 'parts']

/** Runs a scenario once and notes every crash point on the way. */
export async function record(scenario: Scenario, rename: RenameModel, seed: number): Promise<Point[]> {
  const disk = createDisk(await prepared(scenario), { rename, seed })
  const context = contextOn(disk, scenario)
  const found: Omit<Point, 'allowed'>[] = []
  const milestones = [await observeImage(createDisk(disk.image()), scenario)]
  for (const [done, step] of scenario.steps.entries()) {
    disk.onChange = () => found.push({ pending: disk.pending(), acknowledged: done, log: [...disk.log] })
    await step(context)
    disk.onChange = null
    found.push({ pending: disk.pending(), acknowledged: done + 1, log: [...disk.log] })
    milestones.push(await observeImage(createDisk(disk.image()), scenario))
  }
  disk.kill()
  return found.map((point) => {
    const now = milestones.slice(point.acknowledged, point.acknowledged + 2)
    return { ...point, allowed: now.length === 1 ? now : [...now, ...(scenario.between ?? [])] }
  })
}

export async function prepared(scenario: Scenario): Promise<DirectoryImage> {
  const disk = createDisk()
  const context = contextOn(disk, scenario)
  await scenario.prepare?.(context)
  await context.store.close()
  disk.settle()
  disk.kill()
  return disk.image()
}

export function contextOn(disk: Disk, scenario: Pick<Scenario, 'store'>): Context {
  const process = disk.start('writer')
  return {
    disk,
    process,
    store: openOn(process, scenario.store),
    other(options) {
      const other = disk.start('other')
      return { process: other, store: openOn(other, { ...scenario.store, ...options }) }
    },
  }
}

/** Every crash point, the legal states of each, and what must hold in them. */
export async function explore(
  scenario: Scenario,
  options: { seed: number; rename: RenameModel; limit?: number },
): Promise<Explored> {
  const { seed, rename } = options
  return await explorePoints(await record(scenario, rename, seed), scenario, options)
}

export async function explorePoints(
  points: readonly Point[],
  scenario: Omit<Scenario, 'steps' | 'prepare'>,
  options: { seed: number; rename: RenameModel; limit?: number },
): Promise<Explored> {
  const { seed, rename } = options
  const random = seeded(`${scenario.name}, ${rename}`, seed)
  const chosen = new Set(sample(`${scenario.name}, ${rename}`, points, POINTS_LEAST))
  const explored: Explored = { points: chosen.size, states: 0, distinct: 0, nested: 0 }
  const checked = new Set<string>()
  for (const [at, point] of points.entries()) {
    if (!chosen.has(point)) continue
    const { states } = crashStates(point.pending, {
      limit: share(options.limit ?? scenario.limit ?? 16, STATES_LEAST),
      random,
    })
    for (const image of states) {
      explored.states += 1
      const key = `${keyOf(image)} ${point.allowed.join()}`
      if (checked.has(key)) continue
      checked.add(key)
      explored.distinct += 1
      try {
        explored.nested += await checkState(image, point, scenario, rename, random)
      } catch (cause) {
        throw new Error(explain(scenario.name, at, point, image, options, cause as Error), { cause })
      }
    }
  }
  return explored
}

async function checkState(
  image: DirectoryImage,
  point: Point,
  scenario: Omit<Scenario, 'steps' | 'prepare'>,
  rename: RenameModel,
  random: Random,
): Promise<number> {
  await scenario.alsoCheck?.(image, point.acknowledged, rename)
  const { contents, quarantined } = scenario
  const check: CheckOptions = { rename, allowed: point.allowed, contents, store: scenario.store, quarantined }
  const again = random.chance(scenario.nested ?? 0.03)
  const pendings: Pending[] = []
  const { seen, label } = await checkRecovery(image, {
    ...check,
    onRecovery(disk) {
      if (again) disk.onChange = () => pendings.push(disk.pending())
    },
  })
  if (!again) return 0
  let nested = 0
  for (let i = 0; i < NESTED_STATES; i++) {
    const state = random.chance(0.5) ? someState(random.pick(pendings), random) : leastState(random.pick(pendings))
    const now = await observeImage(createDisk(state), scenario)
    const finished = now.split('\n')[0]!.includes(` ${label} current`)
    if (now !== seen && !finished) throw new Error(`a crash during the recovery left\n${now}\nwhere there was\n${seen}`)
    await checkRecovery(state, { ...check, allowed: [now] })
    nested += 1
  }
  return nested
}

/** Crashes of a recovery that are looked at. */
const NESTED_STATES = 6

/** What any effort looks at: so many crash points of a scenario, and so many states of each. */
const POINTS_LEAST = 6
const STATES_LEAST = 6

function explain(
  name: string,
  at: number,
  point: Point,
  image: DirectoryImage,
  { seed, rename }: { seed: number; rename: RenameModel },
  cause: Error,
): string {
  const files = [...walk(image)].map(([path, node]) =>
    node.kind === 'file' ? `  ${path} ${node.content.length} bytes` : `  ${path}/`,
  )
  return (
    `${name}, renames ${rename}, seed ${seed}: crash point ${at}: ${cause.message}\n` +
    `the last calls before it:\n${point.log.slice(-12).join('\n')}\nwhat the crash left:\n${files.join('\n')}`
  )
}
