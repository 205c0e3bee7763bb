import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, platform, release, tmpdir, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type EngineAdapter, persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { memory } from '../../src/index.ts'
import { inChild, peakBytes } from '../child.ts'
import { stat } from '../measure.ts'
import { others, sizeOf } from './others.ts'
import { measureRatios, type RatioInput, runRatio } from './ratios.ts'
import { type Bytes, CHANGES, type Change, type Cost, type EngineResult, type Results, type Stalls } from './result.ts'
import { sqliteSubjects } from './sqlite.ts'
import { measureStalls, runStall, type StallInput } from './stalls.ts'
import type { Absent, Subject } from './subject.ts'
import { fillIn } from './tables.ts'
import { textSubjects } from './text.ts'
import { vectorSubjects } from './vectors.ts'

// What the adapters' snapshots cost: bytes after everyday changes, time and memory beside the engine's own save and
// load. Writes `results.json` here and the tables of `docs/engines.md`.

const USAGE = `npm run bench:engines -- [options]
  --quick       a tenth of everything, one run; prints, and leaves results and tables as they are
  --only a,b    only these engines; the others keep their results
  --ratios      only the times as ratios to the engine's own, which are kept for each major version of Node; the rest of the results stays
  --stalls      only how long the event loop is held up, of the engines that are captured at one go; the rest of the results stays
  --rounds n    of the ratios and stalls; default 9, or 21 for what takes less than 200 ms
  --render      measures nothing; fills the tables in from the results that are there
`

const RUNS = 3

const program = fileURLToPath(import.meta.url)
/** The program lies in `bench/results/build/`. */
const root = dirname(dirname(dirname(dirname(program))))
const resultsFile = join(root, 'bench', 'adapters', 'results.json')
const page = join(root, 'docs', 'engines.md')

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    ratios: { type: 'boolean', default: false },
    stalls: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    render: { type: 'boolean', default: false },
    task: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
  allowPositionals: true,
})

/** The engines, a file each kind. */
const parts = [textSubjects, vectorSubjects, sqliteSubjects]

function subjects(): (Subject | Absent)[] {
  return parts.flatMap((part) => part({ root, quick: values.quick })) as (Subject | Absent)[]
}

async function main(): Promise<void> {
  const all = subjects()
  const only = values.only?.split(',') ?? all.map(({ name }) => name)
  const unknown = only.filter((name) => !all.some((subject) => subject.name === name))
  if (unknown.length > 0) throw new Error(`no such engine: ${unknown.join()}; there are ${all.map(({ name }) => name)}`)
  for (const subject of values.render ? [] : all.filter(({ name }) => only.includes(name))) {
    if ('missing' in subject) {
      process.stderr.write(`${subject.name}: not measured, ${subject.missing}\n`)
      continue
    }
    const known = readResults().engines[subject.name]
    const isRest = (!values.ratios && !values.stalls) || known === undefined
    const rest = isRest ? await measure(subject, values.quick ? 1 : RUNS) : known
    const rounds = values.rounds === undefined ? (values.quick ? 1 : null) : Number(values.rounds)
    const often = { quick: values.quick, rounds }
    const node = `Node ${process.versions.node.split('.')[0]}`
    const result: EngineResult = { ...rest, ratios: { ...known?.ratios }, stalls: { ...known?.stalls } }
    if (isRest || values.ratios) result.ratios![node] = await measureRatios(subject, program, often)
    if ((isRest || values.stalls) && subject.own.export !== undefined)
      result.stalls![node] = await stalls(subject, often)
    if (values.quick) process.stdout.write(`${JSON.stringify({ [subject.name]: result }, null, 1)}\n`)
    // What was measured stays, whatever becomes of the rest.
    else keep(all, subject.name, result)
  }
  if (values.render) render()
}

async function stalls<Engine>(
  subject: Subject<Engine>,
  often: { quick: boolean; rounds: number | null },
): Promise<Stalls> {
  const scratch = mkdtempSync(join(tmpdir(), 'holdfast-stalls-'))
  try {
    return await measureStalls(subject, program, often, (round) => join(scratch, `${round}`))
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

function render(): void {
  writeFileSync(page, fillIn(readFileSync(page, 'utf8'), readResults()))
}

/** Beside what is there by now, in the order of the engines here. */
function keep(all: readonly (Subject | Absent)[], name: string, result: EngineResult): void {
  const engines = { ...readResults().engines, [name]: result }
  const place = (name: string): number => all.findIndex((subject) => subject.name === name)
  const sorted = Object.entries(engines).sort(([a], [b]) => place(a) - place(b))
  writeFileSync(resultsFile, `${JSON.stringify({ engines: Object.fromEntries(sorted) }, null, 2)}\n`)
  render()
}

function readResults(): Results {
  return existsSync(resultsFile) ? (JSON.parse(readFileSync(resultsFile, 'utf8')) as Results) : { engines: {} }
}

function machine(): string {
  const gib = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} cores (${cpus()[0]?.model.trim()}), ${gib} GiB, ${platform()} ${release().split('-')[0]}, Node ${process.versions.node}`
}

async function measure<Engine>(subject: Subject<Engine>, runs: number): Promise<EngineResult> {
  const start = loadavg()[0]!
  const scratch = mkdtempSync(join(tmpdir(), 'holdfast-adapters-'))
  try {
    process.stderr.write(`${subject.name}: bytes\n`)
    const engines = async function* (): AsyncGenerator<[Change, Engine]> {
      for (const change of CHANGES) yield [change, await subject.create()]
    }
    const layouts = [{ layout: 'ours', adapter: subject.adapter }, ...subject.tried]
    const bytes = layouts.map(
      (): Bytes => ({ total: 0, first: 0, written: { nothing: 0, add: 0, update: 0, remove: 0 } }),
    )
    const place = (name: string): string => join(scratch, name)
    const ownFiles = {
      base: place('base'),
      nothing: place('nothing'),
      add: place('add'),
      update: place('update'),
      remove: place('remove'),
    }
    for await (const [change, engine] of engines()) {
      const stores = layouts.map(() => memory({ compression: 'none' }))
      for (const [n, { adapter }] of layouts.entries()) {
        const { bytes: first } = await persistEngine(stores[n]!, adapter, engine)
        bytes[n]!.total = first.total
        bytes[n]!.first = first.written
      }
      if (change === 'nothing') await saveOwn(subject, engine, ownFiles.base)
      if (change !== 'nothing') subject.change(engine, change)
      for (const [n, { adapter }] of layouts.entries()) {
        bytes[n]!.written[change] = (await persistEngine(stores[n]!, adapter, engine)).bytes.written
      }
      await saveOwn(subject, engine, ownFiles[change])
    }
    const cost = await costs(subject, runs)
    return {
      version: subject.adapter.version ?? 'unknown',
      machine: machine(),
      date: new Date().toISOString().slice(0, 10),
      load: { start, end: loadavg()[0]! },
      content: subject.content,
      layoutName: subject.layout,
      layout: bytes[0]!,
      tried: subject.tried.map(({ layout }, n) => ({ layout, bytes: bytes[n + 1]! })),
      others: others(ownFiles, scratch),
      ownBytes: sizeOf(ownFiles.base),
      ownAfter: {
        nothing: sizeOf(ownFiles.nothing),
        add: sizeOf(ownFiles.add),
        update: sizeOf(ownFiles.update),
        remove: sizeOf(ownFiles.remove),
      },
      ownWhat: subject.own.what,
      ...cost,
      runs,
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
}

async function saveOwn<Engine>(subject: Subject<Engine>, engine: Engine, directory: string): Promise<void> {
  mkdirSync(directory, { recursive: true })
  await subject.own.save(engine, directory)
}

// ---- time and memory

interface CostInput {
  subject: string
  side: 'ours' | 'own'
  work: 'save' | 'load'
  directory: string
  quick: boolean
}

interface CostOutput {
  ms: number
  cpuMs: number
  peak: number | null
  blockMs: number
}

/** Each in a process of its own, both sides in turn. */
async function costs<Engine>(subject: Subject<Engine>, runs: number): Promise<{ ours: Cost; own: Cost }> {
  const all: Record<'ours' | 'own', Record<'save' | 'load', CostOutput[]>> = {
    ours: { save: [], load: [] },
    own: { save: [], load: [] },
  }
  for (let n = 0; n < runs; n++) {
    for (const side of n % 2 === 0 ? (['ours', 'own'] as const) : (['own', 'ours'] as const)) {
      process.stderr.write(`${subject.name}: time and memory, run ${n + 1}, ${side}\n`)
      const directory = mkdtempSync(join(tmpdir(), 'holdfast-adapters-'))
      const input = { subject: subject.name, side, directory, quick: values.quick }
      try {
        for (const work of ['save', 'load'] as const) {
          const node = ['cost', { ...input, work }] as const
          all[side][work].push(await inChild<CostOutput>(program, ...node))
        }
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    }
  }
  const cost = ({ save, load }: Record<'save' | 'load', CostOutput[]>): Cost => {
    const median = (outputs: CostOutput[], of: 'ms' | 'cpuMs' | 'blockMs'): number =>
      stat(outputs.map((output) => output[of])).median
    const peak = (outputs: CostOutput[]): number | null =>
      outputs.some((output) => output.peak === null) ? null : stat(outputs.map((output) => output.peak!)).median
    return {
      saveMs: median(save, 'ms'),
      saveCpuMs: median(save, 'cpuMs'),
      savePeak: peak(save),
      saveBlockMs: median(save, 'blockMs'),
      loadMs: median(load, 'ms'),
      loadCpuMs: median(load, 'cpuMs'),
      loadPeak: peak(load),
      loadBlockMs: median(load, 'blockMs'),
    }
  }
  return { ours: cost(all.ours), own: cost(all.own) }
}

async function runCost({ subject: name, side, work, directory, quick }: CostInput): Promise<CostOutput> {
  values.quick = quick
  const subject = subjects().find((candidate) => candidate.name === name) as Subject
  const adapter: EngineAdapter<unknown> = subject.adapter
  if (work === 'load') {
    return await cost(() => (side === 'own' ? subject.own.load(directory) : restoreEngine(directory, adapter)))
  }
  const engine = await subject.create()
  // What building left behind must not be taken for room of the save, or be cleaned up during it.
  for (let n = 0; n < 3; n++) {
    globalThis.gc?.()
    await setTimeout(100)
  }
  return await cost(async () => {
    if (side === 'own') await subject.own.save(engine, directory)
    else await persistEngine(directory, adapter, engine)
  })
}

async function cost(work: () => Promise<unknown>): Promise<CostOutput> {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  let ms = 0
  let cpuMs = 0
  let kept: unknown
  const peak = await peakBytes(async () => {
    delay.enable()
    // It counts from its first tick.
    await setTimeout(5)
    const start = performance.now()
    const cpu = process.cpuUsage()
    kept = await work()
    ms = performance.now() - start
    const { user, system } = process.cpuUsage(cpu)
    cpuMs = (user + system) / 1000
    // So that the last turn is seen.
    await setTimeout(5)
    delay.disable()
  })
  if (kept === null) throw new Error('nothing was loaded')
  return { ms, cpuMs, peak, blockMs: delay.max / 1e6 }
}

async function runTask(task: string, input: string): Promise<unknown> {
  if (task === 'cost') return await runCost(JSON.parse(input) as CostInput)
  if (task === 'stall') {
    const stall = JSON.parse(input) as StallInput
    values.quick = stall.quick
    return await runStall(subjects().find(({ name }) => name === stall.subject) as Subject, stall)
  }
  const ratio = JSON.parse(input) as RatioInput
  values.quick = ratio.quick
  return await runRatio(subjects().find(({ name }) => name === ratio.subject) as Subject, ratio)
}

if (values.help) process.stdout.write(USAGE)
else if (values.task !== undefined) {
  process.stdout.write(JSON.stringify(await runTask(values.task, process.argv.at(-1)!)))
} else await main()
