// The workload of lifetime.mjs: what the store takes and how long persists take along the way. Each persist is a
// function of its number, and what was measured is written every `SAMPLE_EVERY` of them beside the store, so that a run
// that ended early is gone on with.

import { existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { availableParallelism, loadavg } from 'node:os'
import { join } from 'node:path'
import { clock } from '../src/clock.ts'
import { fixed, openStore } from '../src/index.ts'
import { insideOf } from '../src/inside.ts'
import { createRandom, noise } from '../test/support/random.ts'

const PAGE = 16_384
/** Pages of each blob. */
const PAGES = 64
const BLOBS = 50
/**
 * Blobs that change between two persists, and pages in each of them. The others are known to be the same, and are not
 * read.
 */
const CHANGED_BLOBS = 2
const CHANGED_PAGES = 4
const STEP_MS = 60 * 60_000
const KEEP = { last: 3, hourly: 24, daily: 30 }
const SAMPLE_EVERY = 100
const TIDY_EVERY = 20

const [, , output, directory, count] = process.argv as string[]
const persists = Number(count)
const place = join(directory!, 'store')
const samplesFile = join(directory!, 'samples.json')
mkdirSync(directory!, { recursive: true })

/** The middle one, and the one that nine tenths are below. */
function quantiles(numbers: number[]): { median: number; p90: number } {
  const sorted = numbers.toSorted((a, b) => a - b)
  const at = (part: number) => Math.round(sorted[Math.floor(sorted.length * part)]! * 10) / 10
  return { median: at(0.5), p90: at(0.9) }
}

const MIB = 2 ** 20
let nowMs = Date.parse('2026-01-01T00:00:00Z')
clock.now = () => new Date(nowMs)
clock.nowMs = () => nowMs

const store = await openStore(place, { keep: KEEP, compression: 'none' })
const { housekeeping, ctx } = insideOf(store, 'bench')
const samples: Record<string, number>[] = existsSync(samplesFile) ? JSON.parse(readFileSync(samplesFile, 'utf8')) : []
/** Of an earlier run: its samples end where its last hundred ended, and its store may be further. */
const before = await store.load<string, { writtenBytes: number }>()
const done = before?.sequence ?? 0
const blobs =
  before === null
    ? Array.from({ length: BLOBS }, (_, i) => noise(PAGES * PAGE, i))
    : await Promise.all(Array.from({ length: BLOBS }, (_, i) => before.blob(`blob ${i}`).bytes()))
nowMs += done * STEP_MS
let times: number[] = []
/** Processor time of a persist, of all threads: what a busy machine does not change much. */
let cpuTimes: number[] = []
let tidyMs: number[] = []
/** By all persists; noted in the metadata of each by the one after it. */
let writtenBytes = before?.metadata.writtenBytes ?? 0
await before?.dispose()
// Housekeeping's own timers keep no process alive.
const alive = setInterval(() => undefined, 60_000)
if (done > 0) console.log(`goes on after ${done} persists`)

for (let i = done + 1; i <= persists; i++) {
  const random = createRandom(i)
  nowMs += STEP_MS
  const changed = new Set(Array.from({ length: CHANGED_BLOBS }, () => random.below(BLOBS)))
  for (const blob of changed) {
    for (let j = 0; j < CHANGED_PAGES; j++) blobs[blob]!.set(noise(64, i * 1000 + j), random.below(PAGES) * PAGE)
  }
  const startMs = performance.now()
  const startCpu = process.cpuUsage()
  const result = await store.persist({
    blobs: blobs.map((source, n) => [`blob ${n}`, { source, chunking: fixed(PAGE) }] as const),
    metadata: { writtenBytes },
    sameBlobs: () => blobs.flatMap((_, n) => (i === 1 || changed.has(n) ? [] : [`blob ${n}`])),
  })
  times.push(performance.now() - startMs)
  const { user, system } = process.cpuUsage(startCpu)
  cpuTimes.push((user + system) / 1000)
  writtenBytes += result.bytes.written + result.bytes.compacted
  if (i % TIDY_EVERY === 0) {
    const tidyStart = performance.now()
    await housekeeping.now()
    tidyMs.push(performance.now() - tidyStart)
  }
  if (i % SAMPLE_EVERY !== 0) continue
  const { packBytes, liveBytes, packs } = await store.stats()
  const { head } = (await ctx.storage.readHead())!
  samples.push({
    persists: i,
    packBytes,
    liveBytes,
    packs: packs.length,
    snapshots: head.snapshots.length,
    headBytes: statSync(join(place, 'HEAD.json')).size,
    ...Object.fromEntries(Object.entries(quantiles(times)).map(([name, ms]) => [`${name}Ms`, ms])),
    ...Object.fromEntries(Object.entries(quantiles(cpuTimes)).map(([name, ms]) => [`${name}CpuMs`, ms])),
    meanCpuMs: Math.round((cpuTimes.reduce((sum, ms) => sum + ms, 0) / cpuTimes.length) * 10) / 10,
    tidyMs: quantiles(tidyMs).median,
    writtenBytes,
    residentMiB: Math.round(process.memoryUsage.rss() / MIB),
  })
  times = []
  cpuTimes = []
  tidyMs = []
  if (i % 500 === 0) console.log(JSON.stringify({ ...samples.at(-1), load: loadavg()[0] }))
  writeFileSync(samplesFile, JSON.stringify(samples))
  const host = { node: process.version, processors: availableParallelism(), load: Math.round(loadavg()[0]! * 10) / 10 }
  writeFileSync(output!, `${JSON.stringify({ host, keep: KEEP, samples }, null, 2)}\n`)
}
await store.close()
clearInterval(alive)
