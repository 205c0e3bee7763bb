// What many kept snapshots cost: the size of HEAD, the time to write and read it, and the time of a small persist.
// `node bench/lifetime.mjs heads`.

import { mkdtempSync, rmSync, statSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { encodeHead, type Head, parseHead } from '../src/format/head.ts'
import { openStore } from '../src/index.ts'
import { insideOf } from '../src/inside.ts'
import { createRandom, noise } from '../test/support/random.ts'

const SNAPSHOTS = 1000
const PACKS = 200

/** The middle of some runs, in ms. */
function medianMs(work: () => void): number {
  const times = Array.from({ length: 15 }, () => {
    const startMs = performance.now()
    work()
    return performance.now() - startMs
  })
  return Math.round(times.toSorted((a, b) => a - b)[7]! * 10) / 10
}

/** A real HEAD with its snapshots and packs multiplied; `needs` says which packs a snapshot needs. */
function enlarged(head: Head, needs: (snapshot: number) => number[]): Head {
  const [snapshot] = head.snapshots
  const [pack] = head.packs
  const hex = (n: number) => Buffer.from(noise(32, n)).toString('hex')
  return {
    ...head,
    sequence: SNAPSHOTS,
    current: SNAPSHOTS,
    packs: Array.from({ length: PACKS }, (_, i) => ({ ...pack!, id: i + 1, name: hex(i) })),
    snapshots: Array.from({ length: SNAPSHOTS }, (_, i) => {
      const packs = needs(i)
      return { ...snapshot!, sequence: SNAPSHOTS - i, packs, pack: packs.at(-1)!, tags: [] }
    }),
  }
}

const directory = mkdtempSync(join(tmpdir(), 'holdfast-heads-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))
const store = await openStore(directory, { keep: { last: SNAPSHOTS }, compression: 'none' })
const bytes = noise(100_000, 1)
/** Processor time of all threads, which a busy machine does not change much. */
const times: number[] = []
for (let i = 1; i <= SNAPSHOTS + 100; i++) {
  bytes.set(noise(100, i), (i * 7919) % 99_000)
  const start = process.cpuUsage()
  await store.persist({ blobs: { a: bytes } })
  const { user, system } = process.cpuUsage(start)
  times.push((user + system) / 1000)
  if (![20, 100, 300, 1000, 1100].includes(i)) continue
  const last = times.slice(-80).toSorted((a, b) => a - b)
  const snapshots = (await store.snapshots()).length
  const headBytes = statSync(join(directory, 'HEAD.json')).size
  console.log({
    persists: i,
    snapshots,
    headBytes,
    medianCpuMs: last[Math.floor(last.length / 2)]!.toFixed(1),
    p90CpuMs: last[Math.floor(last.length * 0.9)]!.toFixed(1),
  })
}
const { head } = (await insideOf(store, 'bench').ctx.storage.readHead())!
const all = Array.from({ length: PACKS }, (_, i) => i + 1)
const random = createRandom(1)
const cases = {
  'each needs all packs': () => all,
  'each needs a row of a hundred packs': (i: number) => all.slice(i % 100, (i % 100) + 100),
  'each needs half of the packs, at random': () => all.filter(() => random.below(2) === 0),
}
for (const [what, needs] of Object.entries(cases)) {
  const large = enlarged(head, needs)
  const encoded = encodeHead(large)
  const encodeMs = medianMs(() => encodeHead(large))
  console.log({ what, bytes: encoded.length, encodeMs, parseMs: medianMs(() => parseHead(encoded, 'HEAD.json')) })
}
console.log({ node: process.version, load: loadavg()[0] })
await store.close()
