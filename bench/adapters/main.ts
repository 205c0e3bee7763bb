import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, release, tmpdir, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { type EngineAdapter, persistEngine, restoreEngine } from '../../src/engine/adapter.ts'
import { memory } from '../../src/index.ts'
import { inChild, peakBytes } from '../child.ts'
import { stat } from '../measure.ts'
import { readCorpus, type TextDocument } from './corpus.ts'
import { others, sizeOf } from './others.ts'
import { type Bytes, CHANGES, type Change, type Cost, type EngineResult, type Results } from './result.ts'
import type { Subject } from './subject.ts'
import { fillIn } from './tables.ts'
import { textSubjects } from './text.ts'

// What the adapters' snapshots cost: bytes after everyday changes, time and memory beside the engine's own save and load. Writes
// `results.json` here and the tables of `docs/engines.md`.

const USAGE = `npm run bench:engines -- [options]
  --quick       a tenth of the documents, one run; prints, and leaves results and documents as they are
  --only a,b    only these engines; the others keep their results
  --render      measures nothing; fills the tables in from the results that are there
`

const program = fileURLToPath(import.meta.url)
/** The program lies in `bench/results/build/`. */
const root = dirname(dirname(dirname(dirname(program))))
const resultsFile = join(root, 'bench', 'adapters', 'results.json')
const page = join(root, 'docs', 'engines.md')

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    render: { type: 'boolean', default: false },
    task: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
  allowPositionals: true,
})

async function main(): Promise<void> {
  const runs = values.quick ? 1 : 5
  const only = values.only?.split(',') ?? textSubjects.map(({ name }) => name)
  const results = readResults() ?? { machine: '', engines: {} }
  if (!values.render) {
    results.machine = machine()
    for (const subject of textSubjects) {
      if (only.includes(subject.name)) results.engines[subject.name] = await measure(subject, runs)
    }
  }
  if (values.quick) {
    process.stdout.write(`${JSON.stringify(results, null, 1)}\n`)
    return
  }
  writeFileSync(resultsFile, `${JSON.stringify(results, null, 1)}\n`)
  writeFileSync(page, fillIn(readFileSync(page, 'utf8'), results))
}

function readResults(): Results | null {
  try {
    return JSON.parse(readFileSync(resultsFile, 'utf8')) as Results
  } catch {
    return null
  }
}

function machine(): string {
  const gib = Math.round(totalmem() / 2 ** 30)
  return `${cpus().length} cores (${cpus()[0]?.model.trim()}), ${gib} GiB, Linux ${release()}, Node ${process.versions.node}`
}

/** A base, a hundredth more to add, and texts of others to change with. */
function documents(): { base: TextDocument[]; more: TextDocument[] } {
  const all = readCorpus(join(root, 'node_modules'))
  const count = Math.floor((values.quick ? all.length / 10 : all.length) / 1.01)
  return { base: all.slice(0, count), more: all.slice(count, count + Math.floor(count / 100)) }
}

/** Every hundredth document or so, spread all over. */
function chosen(base: readonly TextDocument[]): TextDocument[] {
  return Array.from({ length: Math.floor(base.length / 100) }, (_, n) => base[(n * 7919) % base.length]!)
}

function applyChange<Engine>(subject: Subject<Engine>, engine: Engine, change: Change): void {
  const { base, more } = documents()
  if (change === 'add') subject.add(engine, more)
  else if (change === 'remove') subject.remove(engine, chosen(base))
  else if (change === 'update') {
    // A sentence more.
    const updated = chosen(base).map((document, n) => ({
      ...document,
      text: `${document.text} ${more[n % more.length]!.text.slice(0, 80)}`,
    }))
    subject.update(engine, updated)
  }
}

async function measure<Engine>(subject: Subject<Engine>, runs: number): Promise<EngineResult> {
  const { base } = documents()
  const scratch = mkdtempSync(join(tmpdir(), 'holdfast-adapters-'))
  try {
    process.stderr.write(`${subject.name}: bytes\n`)
    const engines = async function* (): AsyncGenerator<[Change, Engine]> {
      for (const change of CHANGES) yield [change, await subject.create(base)]
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
      applyChange(subject, engine, change)
      for (const [n, { adapter }] of layouts.entries()) {
        bytes[n]!.written[change] = (await persistEngine(stores[n]!, adapter, engine)).bytes.written
      }
      await saveOwn(subject, engine, ownFiles[change])
    }
    const cost = await costs(subject, runs)
    return {
      version: subject.adapter.version ?? 'unknown',
      documents: base.length,
      textBytes: base.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0),
      layout: bytes[0]!,
      tried: subject.tried.map(({ layout }, n) => ({ layout, bytes: bytes[n + 1]! })),
      others: others(ownFiles, scratch),
      ownBytes: sizeOf(ownFiles.base),
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
  const subject = textSubjects.find((candidate) => candidate.name === name)! as Subject<unknown>
  const adapter = subject.adapter as EngineAdapter<unknown>
  if (work === 'load') {
    return await cost(() => (side === 'own' ? subject.own.load(directory) : restoreEngine(directory, adapter)))
  }
  const engine = await subject.create(documents().base)
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

if (values.help) process.stdout.write(USAGE)
else if (values.task !== undefined) {
  process.stdout.write(JSON.stringify(await runCost(JSON.parse(process.argv.at(-1)!) as CostInput)))
} else await main()
