import { createDisk, type Disk } from '../faulty-disk/disk.ts'
import type { RenameModel } from '../faulty-disk/names.ts'
import { positions, seeded } from '../support/effort.ts'
import { observeImage } from './check.ts'
import {
  type Context,
  contextOn,
  type Explored,
  explorePoints,
  type Point,
  prepared,
  type Scenario,
} from './explore.ts'
import { rehearse } from './faults.ts'

/** One process is killed at some call; another comes after it; then the power fails. */
export interface Succession {
  scenario: Scenario
  /** What the other does; acknowledged when it resolves. */
  then: (context: Context) => Promise<void>
}

/** The part of the calls at which the first is killed at any effort. */
const PART_LEAST = 0.5

/**
 * The first process dies at every call that changes the disk, with all that it did still in the page cache, where the
 * second one sees it. What that acknowledges must survive, whatever the first did not come to fsync.
 */
export async function exploreSuccession(
  { scenario, then }: Succession,
  options: { seed: number; rename: RenameModel; pointsEach: number; limit: number },
): Promise<Explored> {
  const random = seeded(scenario.name, options.seed)
  const start = await prepared(scenario)
  const { milestones } = await rehearse(scenario)
  const sum: Explored = { points: 0, states: 0, distinct: 0, nested: 0 }
  const calls = positions(`${scenario.name}, ${options.rename}`, PART_LEAST)
  for (;;) {
    const killAt = calls.next().value
    const disk = createDisk(start, { rename: options.rename, seed: random.below(2 ** 31) })
    const { finished, steps } = await runUntilKilled(disk, scenario, killAt)
    const left = await observeImage(createDisk(disk.image()), scenario)
    const points: Omit<Point, 'allowed'>[] = []
    disk.onChange = () => points.push({ pending: disk.pending(), acknowledged: 0, log: [...disk.log] })
    await then(contextOn(disk, scenario))
    disk.onChange = null
    const acknowledged = { pending: disk.pending(), acknowledged: 1, log: [...disk.log] }
    const after = await observeImage(createDisk(disk.image()), scenario)
    disk.kill()
    const some = Array.from({ length: points.length === 0 ? 0 : options.pointsEach }, () => ({
      ...random.pick(points),
      allowed: [milestones[steps]!, ...(scenario.between ?? []), left, after],
    }))
    // What the scenario checks besides speaks of its own steps.
    const { alsoCheck: _, ...plain } = scenario
    const all = [...some, { ...acknowledged, allowed: [after] }]
    const explored = await explorePoints(all, { ...plain, nested: 0 }, options)
    for (const key of ['points', 'states', 'distinct', 'nested'] as const) sum[key] += explored[key]
    if (finished) return sum
  }
}

/** Not finished: it was killed after that many changes of the disk. `steps` were acknowledged before. */
async function runUntilKilled(
  disk: Disk,
  scenario: Scenario,
  changes: number,
): Promise<{ finished: boolean; steps: number }> {
  const context = contextOn(disk, scenario)
  let seen = 0
  disk.onChange = () => {
    if (++seen === changes) context.process.kill()
  }
  let steps = 0
  try {
    for (const step of scenario.steps) {
      await step(context)
      steps += 1
    }
  } catch (error) {
    if (context.process.alive) throw error
  }
  disk.onChange = null
  const finished = context.process.alive
  context.process.kill()
  return { finished, steps }
}
