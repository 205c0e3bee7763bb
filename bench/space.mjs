// Measures gc of a store that is half garbage, and stats and report of a million blocks, on the disk of TMPDIR. Each
// step is a process of its own.
//
//   npm run build && node bench/space.mjs [gc [GiB [KiB]] | blocks]
//
// gc: 10 GiB of packs by default, in blocks of 16 KiB, every other 64 KiB of which is needed, so that each pack is half
// garbage; compared with a durable copy of the live half. It needs 1.6 times as much room. blocks: a million blocks of
// 1 KiB, in six snapshots.

import { spawnSync } from 'node:child_process'
import { createCipheriv } from 'node:crypto'
import {
  closeSync,
  fsyncSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { fixed, openStore } from '../dist/index.js'

const MIB = 2 ** 20
const PIECE = 64 * 1024
const ZEROS = Buffer.alloc(PIECE)
const BLOCKS = 1_000_000
const BLOCK = 1024
const CHANGED_BLOCKS = 10_000

/** Bytes that do not shrink, the same for the same number. */
function noise(number, length = PIECE) {
  const iv = Buffer.alloc(16)
  iv.writeUIntBE(number, 0, 6)
  return createCipheriv('aes-128-ctr', 'holdfast benches', iv).update(length === PIECE ? ZEROS : Buffer.alloc(length))
}

async function* pieces(from, to, step) {
  for (let i = from; i < to; i += step) yield noise(i)
}

/**
 * Processor time of the main thread, in ms. NaN where the system does not tell. Waiting for a processor is not in it.
 */
function mainThreadMs() {
  try {
    return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'latin1').split(' ')[0]) / 1e6
  } catch {
    return Number.NaN
  }
}

const LONG_TURN_MS = 10

/**
 * Runs `work`: seconds, CPU seconds of all threads, the longest stall of the event loop, and the peak of resident
 * memory above what was resident before. Stalls are seen to 5 ms, and on a loaded machine include waiting for a
 * processor. So turns of the event loop are measured by the processor time of the main thread too: the longest, and how
 * many took more than 10 ms.
 */
async function measured(name, work) {
  const before = process.memoryUsage().rss
  let peak = before
  let stall = 0
  let last = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    stall = Math.max(stall, now - last - 5)
    last = now
    peak = Math.max(peak, process.memoryUsage().rss)
  }, 5)
  const turns = watchTurns()
  const start = performance.now()
  const cpu = process.cpuUsage()
  const result = await work()
  const seconds = (performance.now() - start) / 1000
  clearInterval(timer)
  const { user, system } = process.cpuUsage(cpu)
  const [load] = loadavg()
  const facts = {
    seconds: round(seconds),
    cpuSeconds: round((user + system) / 1e6),
    stallMs: round(stall),
    ...turns.end(),
    memoryMiB: round((peak - before) / MIB),
    load: round(load),
  }
  console.log(name, JSON.stringify(facts))
  return { result, seconds }
}

/** An immediate that does not keep the event loop awake runs once in each of its turns. */
function watchTurns() {
  let longest = 0
  let long = 0
  let ended = false
  let last = mainThreadMs()
  function look() {
    if (ended) return
    const now = mainThreadMs()
    const turn = now - last
    if (turn > LONG_TURN_MS) long++
    if (turn > longest) longest = turn
    last = now
    setImmediate(look).unref()
  }
  setImmediate(look).unref()
  return {
    end() {
      ended = true
      return Number.isNaN(last) ? {} : { turnCpuMs: round(longest), longTurns: long }
    },
  }
}

const round = (value) => Math.round(value * 100) / 100

const steps = {
  async makeHalf(path, gib, kib) {
    const store = await openStore(path, { keepLast: 2, compression: 'none' })
    const perBlob = (MIB * 1024) / PIECE
    const blobs = (step) =>
      Array.from({ length: Number(gib) }, (_, b) => {
        const source = pieces(b * perBlob, (b + 1) * perBlob, step)
        return [`part ${b}`, { source, chunking: fixed(Number(kib) * 1024) }]
      })
    await store.persist({ blobs: blobs(1) })
    await store.persist({ blobs: blobs(2) })
    await store.forget(1)
    const { packBytes, liveBytes, garbageBytes } = await store.stats()
    console.log('store', JSON.stringify({ packBytes, liveBytes, garbageBytes }))
    await store.close()
  },
  async copyHalf(path) {
    const packs = readdirSync(join(path, 'packs')).map((name) => join(path, 'packs', name))
    const half = packs.reduce((sum, pack) => sum + statSync(pack).size, 0) / 2
    await measured('copy of the live half', async () => {
      const buffer = Buffer.alloc(MIB)
      let copied = 0
      for (const pack of packs) {
        if (copied >= half) break
        const [from, to] = [openSync(pack, 'r'), openSync(`${path}.copy`, 'a')]
        for (let bytes = 1; bytes > 0 && copied < half; copied += bytes) {
          bytes = readSync(from, buffer)
          writeSync(to, buffer, 0, bytes)
        }
        fsyncSync(to)
        closeSync(from)
        closeSync(to)
      }
    })
    rmSync(`${path}.copy`)
  },
  async gc(path) {
    const store = await openStore(path, { keepLast: 2 })
    for (const complete of [false, true]) {
      const { result } = await measured(complete ? 'gc, complete' : 'gc', () => store.gc({ complete }))
      const { done, freedBytes, movedBytes, remainingBytes, deadBytes } = result
      console.log('gave', JSON.stringify({ done, freedBytes, movedBytes, remainingBytes, deadBytes }))
    }
    await store.close()
  },
  async makeBlocks(path) {
    const store = await openStore(path, { keepLast: 10, compression: 'none' })
    const content = Buffer.concat(Array.from({ length: 1000 }, (_, i) => noise(i, BLOCK * 1000)))
    for (let save = 0; save < 6; save++) {
      for (let i = 0; save > 0 && i < CHANGED_BLOCKS; i++) {
        noise(2 ** 30 + save * CHANGED_BLOCKS + i, BLOCK).copy(content, ((i * 7919 + save * 31) % BLOCKS) * BLOCK)
      }
      await store.persist({ blobs: { index: { source: content, chunking: fixed(BLOCK) } } })
    }
    await store.close()
  },
  async stats(path) {
    const store = await openStore(path)
    const { result } = await measured('stats', () => store.stats())
    console.log('stats of', JSON.stringify({ packs: result.packs.length, liveBytes: result.liveBytes }))
    await store.close()
  },
  async report(path) {
    const store = await openStore(path)
    const { result } = await measured('report', () => store.report())
    console.log('report of', result.html.length, 'characters')
    await store.close()
  },
}

async function run(step, ...args) {
  const { status } = spawnSync(process.execPath, [fileURLToPath(import.meta.url), `--${step}`, ...args], {
    stdio: 'inherit',
  })
  if (status !== 0) throw new Error(`${step} ended with ${status}`)
  // What one step leaves to the disk does not burden the next.
  await sleep(2_000)
}

const [what, ...args] = process.argv.slice(2)
if (what?.startsWith('--')) await steps[what.slice(2)](...args)
else {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-space-'))
  const path = join(directory, 'store')
  try {
    if (what !== 'blocks')
      for (const step of ['makeHalf', 'copyHalf', 'gc']) await run(step, path, args[0] ?? '10', args[1] ?? '16')
    rmSync(path, { recursive: true, force: true })
    if (what !== 'gc') for (const step of ['makeBlocks', 'stats', 'stats', 'report']) await run(step, path)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
}
