// A live engine at work: how long a change takes beside searches while a save runs, and for how long the event loop
// stands still.

import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import MiniSearch from 'minisearch'
import { type LiveEngine, openEngine } from '../src/engines/live.ts'
import { minisearch } from '../src/engines/minisearch.ts'
import { pickWord, random, vectors, vocabulary } from './data.ts'
import type { Context } from './group.ts'
import { log, MIB, stat } from './measure.ts'
import type { Fact } from './result.ts'

interface Document {
  id: number
  text: string
}

const OPTIONS = { fields: ['text'] }
const WORDS_EACH = 40

interface Load {
  searches: boolean
  changes: boolean
  saves: boolean
}

/** What one load did, in ms. `longest` and `p99` are of the turns of the event loop. */
interface Measured {
  changes: number[]
  longest: number
  p99: number
  searches: number
  saves: number
}

export async function liveFacts(context: Context): Promise<Fact[]> {
  return [await plainStall(context), ...(await besideSearches(context))]
}

interface Counter {
  count: number
  rest: Uint8Array
}

/**
 * An engine that takes no time to apply a change and none to be captured: what is left is the journal and the saves.
 */
async function plainStall(context: Context): Promise<Fact> {
  const rest = vectors(32 * MIB)
  await using live = await openEngine<Counter, Uint8Array>(
    join(context.scratch, 'counter'),
    {
      name: 'counter',
      layout: 1,
      options: {},
      revision: ({ count }) => count,
      save: ({ count }) => ({ captured: true, blobs: { count: String(count), rest } }),
      restore: async (saved) => ({ count: Number(await saved.blob('count').text()), rest }),
    },
    {
      create: () => ({ count: 0, rest }),
      apply: (engine) => {
        engine.count += 1
      },
      everyMs: 3_600_000,
    },
  )
  await live.change(new Uint8Array(128))
  await live.save()
  const { longest, p99, changes, saves } = await measure(
    { live, change: () => new Uint8Array(128), search: () => undefined },
    { searches: false, changes: true, saves: true },
    context.quick ? 2_000 : 8_000,
  )
  log(
    `live engine that costs nothing: ${changes.length} changes, ${saves} saves; longest turn ${longest.toFixed(1)} ms`,
  )
  return {
    id: 'live-stall',
    what: 'longest turn of the event loop, of changes and saves of a live engine that takes no time itself',
    value: longest,
    unit: 'ms',
    target: 10,
    detail: `processor time; p99 ${p99.toFixed(1)} ms; ${changes.length} changes of 128 B one after the other, ${saves} saves of 32 MiB`,
  }
}

async function besideSearches(context: Context): Promise<Fact[]> {
  const documents = context.quick ? 2_000 : 10_000
  const words = vocabulary(20_000)
  const next = random(9)
  const documentOf = (id: number): Document => ({
    id,
    text: Array.from({ length: WORDS_EACH }, () => pickWord(words, next)).join(' '),
  })
  const engine = new MiniSearch<Document>(OPTIONS)
  engine.addAll(Array.from({ length: documents }, (_, id) => documentOf(id)))
  await using live = await openEngine<MiniSearch<Document>, Document>(
    join(context.scratch, 'live'),
    minisearch(MiniSearch<Document>, OPTIONS),
    { create: () => engine, apply: (into, document) => into.add(document), everyMs: 3_600_000 },
  )
  let id = documents
  // The first save writes all of it.
  await live.change(documentOf(id++))
  await live.save()
  const runMs = context.quick ? 2_000 : 8_000
  const run = (load: Load): Promise<Measured> =>
    measure(
      { live, change: () => documentOf(id++), search: () => live.engine.search(pickWord(words, next)) },
      load,
      runMs,
    )
  const idle = await run({ searches: false, changes: false, saves: false })
  const ours = await run({ searches: false, changes: true, saves: true })
  const searched = await run({ searches: true, changes: false, saves: false })
  const all = await run({ searches: true, changes: true, saves: true })
  const times = stat(all.changes)
  const sorted = [...all.changes].sort((a, b) => a - b)
  const p99 = sorted[Math.floor(sorted.length * 0.99)]!
  log(
    `live engine: a change p50 ${times.median.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms; ${all.saves} saves; stall ${ours.longest.toFixed(1)} ms`,
  )
  const what = `MiniSearch of ${documents.toLocaleString('en')} documents`
  const beside = `${all.changes.length} changes one after the other, beside ${all.searches} searches and ${all.saves} saves, one after the other too`
  return [
    {
      id: 'live-change-p50',
      what: `a change of a live ${what}, beside searches and a save: p50`,
      value: times.median,
      unit: 'ms',
      detail: beside,
    },
    {
      id: 'live-change-p99',
      what: 'the same: p99',
      value: p99,
      unit: 'ms',
      detail: `longest ${times.max.toFixed(1)} ms`,
    },
    {
      id: 'live-stall-minisearch',
      what: `longest turn of the event loop, of changes and saves of a live ${what}`,
      value: ours.longest,
      unit: 'ms',
      detail:
        `p99 ${ours.p99.toFixed(1)} ms; idle: longest ${idle.longest.toFixed(1)} ms; with searches alone: longest ` +
        `${searched.longest.toFixed(1)} ms; with all three: ${all.longest.toFixed(1)} ms; processor time of a turn, the caller's apply and search included`,
    },
  ]
}

interface Work<Engine, Change> {
  live: LiveEngine<Engine, Change>
  change: () => Change
  search: () => unknown
}

async function measure<Engine, Change>(
  { live, change, search }: Work<Engine, Change>,
  load: Load,
  runMs: number,
): Promise<Measured> {
  const measured: Measured = { changes: [], longest: 0, p99: 0, searches: 0, saves: 0 }
  const untilMs = performance.now() + runMs
  const isLate = (): boolean => performance.now() > untilMs
  const turns: number[] = []
  await Promise.all([
    (async () => {
      for (let before = busyMs(); !isLate(); ) {
        await nextTurn()
        const now = busyMs()
        turns.push(now - before)
        before = now
      }
    })(),
    (async () => {
      while (load.searches && !isLate()) {
        search()
        measured.searches += 1
        await nextTurn()
      }
    })(),
    (async () => {
      while (load.changes && !isLate()) {
        const given = change()
        const startMs = performance.now()
        await live.change(given)
        measured.changes.push(performance.now() - startMs)
      }
    })(),
    (async () => {
      while (load.saves && !isLate()) {
        await live.save()
        measured.saves += 1
        await sleep(1)
      }
    })(),
  ])
  turns.sort((a, b) => a - b)
  measured.longest = turns.at(-1)!
  measured.p99 = turns[Math.floor(turns.length * 0.99)]!
  return measured
}

/**
 * Processor time of this thread, in ms: what others do on the machine does not count as a stall. Where Linux does not
 * tell, the time of the clock.
 */
function busyMs(): number {
  try {
    return Number(readFileSync('/proc/self/schedstat', 'latin1').split(' ')[0]) / 1e6
  } catch {
    return performance.now()
  }
}
