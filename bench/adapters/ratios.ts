// How long a save and a restore take as a ratio to the engine's own: both sides in turn, round by round, the ratio
// taken within each round.

import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from 'node:fs'
import { getPriority, loadavg, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { inChild } from '../child.ts'
import { MEASURES, type Measure, type Measured, type Ratio, type Ratios } from './result.ts'
import type { Subject } from './subject.ts'

/** What takes less than this, on our side, is measured more often. */
const SHORT_MS = 200
const ROUNDS = 9
const ROUNDS_SHORT = 21

interface Once {
  ms: number
  /** That reached the disk, or will. Null where /proc does not tell. */
  writtenBytes: number | null
}

type Pair = Record<'ours' | 'own', Once>
type Saves = Record<'first' | 'unchanged' | 'changed', Pair>

export interface RatioInput {
  subject: string
  quick: boolean
  directory: string
  /** Of a save: which side is first. */
  round: number
  work: 'saves' | 'restore' | 'ownLoad' | 'view' | 'ownView'
}

/** @param run a process of its own */
export async function measureRatios<Engine>(
  subject: Subject<Engine>,
  program: string,
  { quick, rounds }: { quick: boolean; rounds: number | null },
): Promise<Ratios> {
  const start = loadavg()[0]!
  const pairs: Record<Measure, Pair[]> = { first: [], changed: [], unchanged: [], image: [], assembled: [], view: [] }
  const scratch = mkdtempSync(join(tmpdir(), 'holdfast-ratios-'))
  const child = async <T>(work: RatioInput['work'], directory: string, round: number): Promise<T> =>
    await inChild<T>(program, 'ratio', { subject: subject.name, quick, directory, round, work } satisfies RatioInput)

  try {
    const kept = join(scratch, 'kept')
    for (let round = 0; round < (rounds ?? ROUNDS); round++) {
      process.stderr.write(`${subject.name}: saves, round ${round + 1}\n`)
      const directory = round === 0 ? kept : join(scratch, 'saves')
      const saves = await child<Saves>('saves', directory, round)
      for (const name of ['first', 'unchanged', 'changed'] as const) pairs[name].push(saves[name])
      if (round > 0) rmSync(directory, { recursive: true, force: true })
    }
    const hasImage = imagesIn(kept).length > 0
    const loads: [Measure, RatioInput['work'], RatioInput['work']][] = [['assembled', 'restore', 'ownLoad']]
    if (hasImage) loads.unshift(['image', 'restore', 'ownLoad'])
    if (hasImage && subject.view !== undefined) loads.push(['view', 'view', 'ownView'])
    for (const [name, ours, own] of loads) {
      for (let round = 0; round < (rounds ?? roundsFor(pairs[name])); round++) {
        process.stderr.write(`${subject.name}: ${name}, round ${round + 1}\n`)
        const pair = {} as Pair
        for (const side of round % 2 === 0 ? (['ours', 'own'] as const) : (['own', 'ours'] as const)) {
          if (side === 'ours' && name === 'assembled') for (const image of imagesIn(kept)) rmSync(image)
          pair[side] = await child<Once>(side === 'ours' ? ours : own, kept, round)
        }
        pairs[name].push(pair)
      }
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
  const measured = MEASURES.flatMap((name) => (pairs[name].length === 0 ? [] : [[name, ratioOf(pairs[name])] as const]))
  return {
    measures: Object.fromEntries(measured),
    load: { start, end: loadavg()[0]! },
    date: new Date().toISOString().slice(0, 10),
    node: process.versions.node,
    priority: getPriority(),
  }
}

/** As many as the rounds so far say. */
function roundsFor(pairs: readonly Pair[]): number {
  return pairs.length > 0 && pairs.every(({ ours }) => ours.ms < SHORT_MS) ? ROUNDS_SHORT : ROUNDS
}

function imagesIn(directory: string): string[] {
  const files = join(directory, 'store', 'files')
  if (!existsSync(files)) return []
  return readdirSync(files)
    .filter((name) => name.includes('.image'))
    .map((name) => join(files, name))
}

function ratioOf(pairs: readonly Pair[]): Ratio {
  const side = (name: keyof Pair): Measured => {
    const bytes = pairs.map((pair) => pair[name].writtenBytes)
    return {
      ms: quantile(
        pairs.map((pair) => pair[name].ms),
        0.5,
      ),
      writtenBytes: bytes.some((each) => each === null) ? null : quantile(bytes as number[], 0.5),
    }
  }
  const ratios = pairs.map(({ ours, own }) => ours.ms / own.ms)
  return {
    ours: side('ours'),
    own: side('own'),
    median: quantile(ratios, 0.5),
    quartiles: { lower: quantile(ratios, 0.25), upper: quantile(ratios, 0.75) },
    rounds: pairs.length,
  }
}

/** Between two values, in proportion. */
function quantile(values: readonly number[], at: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const place = (sorted.length - 1) * at
  const low = sorted[Math.floor(place)]!
  return low + (sorted[Math.ceil(place)]! - low) * (place % 1)
}

/** The work of one child. */
export async function runRatio<Engine>(subject: Subject<Engine>, input: RatioInput): Promise<Saves | Once> {
  const { directory, work, round } = input
  const store = join(directory, 'store')
  const own = join(directory, 'own')
  const { adapter, restoring = adapter } = subject
  if (work === 'restore') return await once(() => restoreEngine(store, restoring))
  if (work === 'ownLoad') return await once(() => (subject.own.loadDurably ?? subject.own.load)(own))
  if (work === 'view') return await once(() => restoreEngine(store, subject.view!.adapter))
  if (work === 'ownView') return await once(() => subject.view!.own(own))
  const engine = await subject.create()
  globalThis.gc?.()
  const both = async (ours: () => Promise<unknown>): Promise<Pair> => {
    const pair = {} as Pair
    for (const side of round % 2 === 0 ? (['ours', 'own'] as const) : (['own', 'ours'] as const)) {
      pair[side] = await once(() => (side === 'ours' ? ours() : saveOwn(subject, engine, own)))
    }
    return pair
  }
  const save = (): Promise<unknown> => persistEngine(store, adapter, engine)
  const first = await both(save)
  const unchanged = await both(save)
  subject.change(engine, 'add')
  return { first, unchanged, changed: await both(save) }
}

/**
 * The engine's own save; a file of a native engine is made durable as a careful program would: fsync, rename, fsync of
 * the directory.
 */
async function saveOwn<Engine>({ own, isDurable }: Subject<Engine>, engine: Engine, directory: string): Promise<void> {
  const target = isDurable ? `${directory}.new` : directory
  rmSync(target, { recursive: true, force: true })
  mkdirSync(target, { recursive: true })
  await own.save(engine, target)
  if (!isDurable) return
  for (const name of readdirSync(target)) sync(join(target, name))
  sync(target)
  rmSync(directory, { recursive: true, force: true })
  renameSync(target, directory)
  sync(dirname(directory))
}

function sync(path: string): void {
  const file = openSync(path, 'r')
  fsyncSync(file)
  closeSync(file)
}

async function once(work: () => Promise<unknown>): Promise<Once> {
  const before = bytesToDisk()
  const startMs = performance.now()
  const kept = await work()
  const ms = performance.now() - startMs
  if (kept === null) throw new Error('nothing was restored')
  const after = bytesToDisk()
  return { ms, writtenBytes: before === null || after === null ? null : after - before }
}

/** `write_bytes` of proc(5): what was put into the page cache for a disk. */
function bytesToDisk(): number | null {
  try {
    return Number(/^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))![1])
  } catch {
    return null
  }
}
