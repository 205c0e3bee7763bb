// Measures a vector index of 1,000,000 vectors of 768 dimensions, about 3 GB: saves, restores with and without its
// image, and the memory that they take beyond the engine's. Each step is a process of its own.
//
//   npm run engines && npm run build && node bench/large-index.mjs [hnswlib-node | usearch] [vectors]
//
// The index is built once, with the smallest effort that gives a graph, and kept in bench/results/engines. It needs 12
// GB of room, and 8 GB of memory. The last step saves in a memory cgroup that has 512 MiB beyond the loaded engine; it
// needs root and a cgroup file system that can be written.

import { spawnSync } from 'node:child_process'
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
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { loadavg, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { persistEngine, restoreEngine } from '../dist/engines/index.js'
import { openStore } from '../dist/index.js'

const MIB = 2 ** 20
const DIMENSIONS = 768
const COUNT = 1_000_000
const CHANGED = 0.01
const CGROUP_MIB = 512
const here = dirname(fileURLToPath(import.meta.url))
const require = createRequire(join(here, 'engines', 'package.json'))

/** What each engine is called with. */
const engines = {
  async 'hnswlib-node'() {
    const { HierarchicalNSW } = require('hnswlib-node')
    const { hnswlib } = await import('../dist/engines/hnswlib.js')
    const make = () => new HierarchicalNSW('l2', DIMENSIONS)
    return {
      adapter: hnswlib(HierarchicalNSW, { space: 'l2', dim: DIMENSIONS }),
      create(count) {
        const engine = make()
        engine.initIndex({ maxElements: Math.ceil(count * (1 + CHANGED)), m: 8, efConstruction: 8, randomSeed: 1 })
        return engine
      },
      add: (engine, n) => engine.addPoint(Array.from(vector(n)), n),
      save: (engine, path) => engine.writeIndexSync(path),
      load(path) {
        const engine = make()
        engine.readIndexSync(path)
        return engine
      },
    }
  },
  async usearch() {
    const { Index } = require('usearch')
    const { usearch } = await import('../dist/engines/usearch.js')
    const options = {
      dimensions: DIMENSIONS,
      metric: 'l2sq',
      quantization: 'f32',
      connectivity: 8,
      expansion_add: 8,
      expansion_search: 8,
    }
    return {
      adapter: usearch(Index, options),
      create: () => new Index(options),
      add: (engine, n) => engine.add(BigInt(n), vector(n), 1),
      save: (engine, path) => engine.save(path),
      load(path) {
        const engine = new Index(options)
        engine.load(path)
        return engine
      },
    }
  },
}

/** Random numbers, the same for the same `n`. */
function vector(n) {
  const values = new Float32Array(DIMENSIONS)
  let state = Math.imul(n + 1, 0x9e3779b1) | 1
  for (let i = 0; i < DIMENSIONS; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    values[i] = state / 2 ** 31
  }
  return values
}

const status = (name) =>
  Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))[1]) / 1024

function resident() {
  globalThis.gc?.()
  return status('VmRSS')
}

/** Seconds, processor seconds of all threads, and the peak of resident memory above what was resident before. */
async function measured(name, work) {
  const before = resident()
  writeFileSync('/proc/self/clear_refs', '5')
  const start = performance.now()
  const cpu = process.cpuUsage()
  const result = await work()
  const ms = performance.now() - start
  const { user, system } = process.cpuUsage(cpu)
  const facts = {
    seconds: round(ms / 1000),
    cpuSeconds: round((user + system) / 1e6),
    memoryMiB: round(status('VmHWM') - before),
    load: round(loadavg()[0]),
  }
  console.log(name, JSON.stringify(facts))
  return result
}

const round = (value) => Math.round(value * 100) / 100

function saveDurably(engine, own, path) {
  own.save(engine, `${path}.new`)
  for (const [file, isFile] of [
    [`${path}.new`, true],
    [dirname(path), false],
  ]) {
    const descriptor = openSync(file, 'r')
    fsyncSync(descriptor)
    closeSync(descriptor)
    if (isFile) renameSync(`${path}.new`, path)
  }
}

const steps = {
  async build(own, { file, count }) {
    const engine = own.create(count)
    const start = performance.now()
    for (let n = 0; n < count; n++) {
      own.add(engine, n)
      if ((n + 1) % 100_000 === 0) console.error(`${n + 1} vectors, ${round((performance.now() - start) / 1000)} s`)
    }
    mkdirSync(dirname(file), { recursive: true })
    saveDurably(engine, own, file)
  },
  async saves(own, { file, count, room }) {
    const engine = own.load(file)
    console.log(
      'the engine',
      JSON.stringify({ fileMiB: round(statSync(file).size / MIB), residentMiB: round(resident()) }),
    )
    const store = await openStore(join(room, 'store'))
    const path = join(room, 'own')
    const persist = () => persistEngine(store, own.adapter, engine)
    await measured('own durable save', async () => saveDurably(engine, own, path))
    const first = await measured('first save', persist)
    await measured('own durable save, again', async () => saveDurably(engine, own, path))
    const unchanged = await measured('save, nothing changed', persist)
    const added = Math.ceil(count * CHANGED)
    for (let n = count; n < count + added; n++) own.add(engine, n)
    await measured('own durable save after +1 %', async () => saveDurably(engine, own, path))
    const changed = await measured('save after +1 %', persist)
    const bytes = [first, unchanged, changed].map(({ bytes }) => ({
      writtenMiB: round(bytes.written / MIB),
      imageMiB: round(bytes.image / MIB),
    }))
    console.log('bytes', JSON.stringify(bytes))
    await store.close?.()
  },
  async own(own, { room }) {
    const before = resident()
    const engine = await measured('own load', async () => own.load(join(room, 'own')))
    console.log('resident after it', JSON.stringify({ memoryMiB: round(resident() - before) }), engine !== null)
  },
  async restore(own, { room, name }) {
    const before = resident()
    const restored = await measured(name, async () => {
      const store = await openStore(join(room, 'store'))
      return await restoreEngine(store, own.adapter)
    })
    console.log('resident after it', JSON.stringify({ memoryMiB: round(resident() - before) }), restored !== null)
  },
  async small(own, { file, room, cgroup }) {
    // Before it has memory that counts.
    writeFileSync(join(cgroup.path, 'cgroup.procs'), String(process.pid))
    const engine = own.load(file)
    writeFileSync(join(cgroup.path, cgroup.limit), String(Math.ceil(resident() + CGROUP_MIB) * MIB))
    const store = await openStore(join(room, 'small'))
    await measured(`first save, ${CGROUP_MIB} MiB beyond the engine`, () => persistEngine(store, own.adapter, engine))
  },
}

/** Of the first or the second version; null where none can be made. */
function makeCgroup() {
  const kinds = [
    { root: '/sys/fs/cgroup/memory', limit: 'memory.limit_in_bytes' },
    { root: '/sys/fs/cgroup', limit: 'memory.max' },
  ]
  for (const { root, limit } of kinds) {
    const path = join(root, `holdfast-bench-${process.pid}`)
    try {
      mkdirSync(path)
    } catch {
      continue
    }
    if (existsSync(join(path, limit))) return { path, limit }
    rmdirSync(path)
  }
  return null
}

function run(step, input) {
  const { status } = spawnSync(
    process.execPath,
    ['--expose-gc', fileURLToPath(import.meta.url), '--step', step, JSON.stringify(input)],
    { stdio: 'inherit' },
  )
  if (status !== 0) throw new Error(`${step} of ${input.engine} failed`)
}

function removeImages(room) {
  const files = join(room, 'store', 'files')
  for (const name of readdirSync(files)) if (name.endsWith('.image')) rmSync(join(files, name), { force: true })
}

function measureAll(engine, count) {
  const { version } = JSON.parse(readFileSync(join(here, 'engines', 'node_modules', engine, 'package.json'), 'utf8'))
  const file = join(here, 'results', 'engines', `${engine}-${version}-${count}x${DIMENSIONS}`)
  const room = mkdtempSync(join(tmpdir(), 'holdfast-large-'))
  const input = { engine, file, count, room }
  console.log(`${engine} ${version}, ${count} x ${DIMENSIONS}, Node ${process.versions.node}`)
  try {
    if (!existsSync(file)) run('build', input)
    run('saves', input)
    run('own', input)
    run('restore', { ...input, name: 'restore, image there' })
    removeImages(room)
    run('restore', { ...input, name: 'restore, assembled' })
    rmSync(join(room, 'store'), { recursive: true })
    const cgroup = makeCgroup()
    if (cgroup === null) console.log('SKIPPED: no memory cgroup can be made here')
    else {
      run('small', { ...input, cgroup })
      rmdirSync(cgroup.path)
    }
  } finally {
    rmSync(room, { recursive: true, force: true })
  }
}

const [first, step, json] = process.argv.slice(2)
if (first === '--step') {
  const input = JSON.parse(json)
  await steps[step](await engines[input.engine](), input)
} else {
  const names = first === undefined ? Object.keys(engines) : [first]
  for (const name of names) measureAll(name, Number(step ?? COUNT))
}
