// How long a save and a restore hold the event loop up, and how long the capture of an engine takes beside its own
// export. In processor time of the main thread: on a busy machine, a turn takes longer by what others did meanwhile.

import { loadavg } from 'node:os'
import { WASI } from 'node:wasi'
import { type EngineAdapter, persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { inChild } from '../child.ts'
import { stat } from '../measure.ts'
import type { Stalls, Turns } from './result.ts'
import type { Subject } from './subject.ts'

const ROUNDS = 5

export interface StallInput {
  subject: string
  quick: boolean
  directory: string
  work: 'save' | 'restore'
}

interface Saved {
  save: Turns
  captureMs: number
  exportMs: number
}

/** @param run a process of its own */
export async function measureStalls<Engine>(
  subject: Subject<Engine>,
  program: string,
  { quick, rounds }: { quick: boolean; rounds: number | null },
  scratch: (round: number) => string,
): Promise<Stalls> {
  const start = loadavg()[0]!
  const saves: Saved[] = []
  const restores: Turns[] = []
  for (let round = 0; round < (rounds ?? ROUNDS); round++) {
    process.stderr.write(`${subject.name}: turns of the event loop, round ${round + 1}\n`)
    const input = { subject: subject.name, quick, directory: scratch(round) }
    saves.push(await inChild<Saved>(program, 'stall', { ...input, work: 'save' } satisfies StallInput))
    restores.push(await inChild<Turns>(program, 'stall', { ...input, work: 'restore' } satisfies StallInput))
  }
  const median = (values: readonly number[]): number => stat([...values]).median
  const turns = (all: readonly Turns[]): Turns => ({
    longestMs: median(all.map(({ longestMs }) => longestMs)),
    p99Ms: median(all.map(({ p99Ms }) => p99Ms)),
  })
  return {
    save: turns(saves.map(({ save }) => save)),
    restore: turns(restores),
    captureMs: median(saves.map(({ captureMs }) => captureMs)),
    exportMs: median(saves.map(({ exportMs }) => exportMs)),
    captureRatio: median(saves.map(({ captureMs, exportMs }) => captureMs / exportMs)),
    rounds: saves.length,
    load: { start, end: loadavg()[0]! },
    date: new Date().toISOString().slice(0, 10),
    node: process.versions.node,
  }
}

/** The work of one child. */
export async function runStall<Engine>(subject: Subject<Engine>, input: StallInput): Promise<Saved | Turns> {
  const { directory, work } = input
  const meter = createMeter()
  const adapter = subject.watched?.(meter.engine) ?? subject.adapter
  if (work === 'restore') return await meter.run(() => restoreEngine(directory, adapter))
  const engine = await subject.create()
  globalThis.gc?.()
  const exportMs = timed(() => subject.own.export!(engine))
  globalThis.gc?.()
  let captureMs = 0
  const captured: EngineAdapter<Engine> = {
    ...adapter,
    // What it does before it waits for anything.
    save: (given, context) =>
      meter.engine(() => {
        const startMs = threadMs()
        const state = adapter.save(given, context)
        captureMs = threadMs() - startMs
        return state
      }),
  }
  const save = await meter.run(() => persistEngine(directory, captured, engine))
  return { save, captureMs, exportMs }
}

function timed(work: () => unknown): number {
  const startMs = threadMs()
  work()
  return threadMs() - startMs
}

interface Meter {
  /** Calls what is not ours: its time is no part of a turn. */
  engine<T>(call: () => T): T
  /** The turns of the event loop during `work`. */
  run(work: () => Promise<unknown>): Promise<Turns>
}

function createMeter(): Meter {
  let engineMs = 0
  let depth = 0
  return {
    engine(call) {
      const startMs = threadMs()
      depth += 1
      try {
        return call()
      } finally {
        depth -= 1
        if (depth === 0) engineMs += threadMs() - startMs
      }
    },
    async run(work) {
      const turns: number[] = []
      let isOver = false
      let lastMs = threadMs()
      function tick(): void {
        turns.push(Math.max(0, threadMs() - lastMs - engineMs))
        engineMs = 0
        lastMs = threadMs()
        if (!isOver) setImmediate(tick)
      }
      setImmediate(tick)
      await work()
      isOver = true
      await new Promise(setImmediate)
      turns.sort((a, b) => a - b)
      // Of those in which something was done.
      const busy = turns.filter((ms) => ms >= BUSY_MS)
      return { longestMs: turns.at(-1)!, p99Ms: busy[Math.floor(0.99 * busy.length)] ?? 0 }
    },
  }
}

/** Turns that take less wait for something. */
const BUSY_MS = 0.1

const { WebAssembly: wasm } = globalThis as unknown as {
  WebAssembly: { Memory: new (pages: { initial: number }) => { buffer: ArrayBuffer } }
}
const memory = new wasm.Memory({ initial: 1 })
let clock: ((id: number, precision: bigint, at: number) => number) | null = null
const THREAD_CPU = 3

/** `CLOCK_THREAD_CPUTIME_ID`: Node has it nowhere else, and /proc has it by the tick of the scheduler. */
function threadMs(): number {
  if (clock === null) {
    const wasi = new WASI({ version: 'preview1' })
    wasi.initialize({ exports: { memory } } as never)
    clock = (wasi.wasiImport as { clock_time_get: NonNullable<typeof clock> }).clock_time_get
  }
  const failed = clock(THREAD_CPU, 0n, 0)
  if (failed !== 0) throw new Error(`the clock of the thread: ${failed}`)
  return Number(new DataView(memory.buffer).getBigUint64(0, true)) / 1e6
}
