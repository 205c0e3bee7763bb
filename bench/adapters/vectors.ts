import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { EngineAdapter } from '../../src/engines/adapter.ts'
import { type HnswlibLike, hnswlib } from '../../src/engines/hnswlib.ts'
import { plain } from '../../src/engines/plain.ts'
import { type UsearchLike, usearch } from '../../src/engines/usearch.ts'
import { content } from '../../src/index.ts'
import { absent, madeOnce, nativeEngine } from './native.ts'
import type { Change } from './result.ts'
import { type Absent, KIB, type Scale, type Subject, type Subjects, type Tried, withChunks } from './subject.ts'

// Vectors as embeddings are: in clusters, of length 1.

const DIMENSIONS = 256
const CLUSTERS = 200
/** Of each coordinate, beside cluster centres whose coordinates have 1. */
const DEVIATION = 0.6

interface Vectors {
  base: number
  hundredth: number
  of(n: number): Float32Array
}

function vectors({ quick }: Scale): Vectors {
  const base = quick ? 5_000 : 50_000
  const centres = Array.from({ length: CLUSTERS }, (_, n) => normals(n + 1, DIMENSIONS))
  return {
    base,
    hundredth: base / 100,
    of(n) {
      const centre = centres[(n * 7919) % CLUSTERS]!
      const vector = normals(n + 1_000_003, DIMENSIONS).map((value, i) => value * DEVIATION + centre[i]!)
      const length = Math.hypot(...vector)
      return vector.map((value) => value / length)
    },
  }
}

/** Normally distributed numbers (Box and Muller), the same for the same seed (mulberry32). */
function normals(seed: number, count: number): Float32Array {
  let state = Math.imul(seed, 0x9e3779b1)
  const random = (): number => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  return Float32Array.from({ length: count }, () => {
    return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random())
  })
}

interface VectorSubject<Engine> extends Omit<Subject<Engine>, 'content' | 'change'> {
  put(engine: Engine, key: number, vector: Float32Array): void
  remove(engine: Engine, key: number): void
}

function ofVectors<Engine>({ put, remove, ...rest }: VectorSubject<Engine>, scale: Scale): Subject<Engine> {
  const { base, hundredth, of } = vectors(scale)
  return {
    ...rest,
    content: `${base.toLocaleString('en-US')} vectors of ${DIMENSIONS} dimensions, in ${CLUSTERS} clusters`,
    change(engine, change: Exclude<Change, 'nothing'>) {
      for (let n = 0; n < hundredth; n++) {
        const chosen = (n * 7919) % base
        if (change === 'add') put(engine, base + n, of(base + n))
        else {
          remove(engine, chosen)
          if (change === 'update') put(engine, chosen, of(base + n))
        }
      }
    },
  }
}

/** The file that the engine saves, as it is. */
function whole<Engine>(kib: number, save: (engine: Engine, path: string) => void): Tried<Engine> {
  const adapter = plain<Engine>({
    name: 'whole',
    save: (engine) => ({
      blobs: { index: { source: (path) => save(engine, path), chunking: content({ averageBytes: kib * KIB }) } },
    }),
    restore() {
      throw new Error('not measured')
    },
  })
  return { layout: `its file as it is, ${kib} KiB`, adapter }
}

function columns<Engine>(kib: number, adapter: EngineAdapter<Engine>): Tried<Engine> {
  return { layout: `columns, ${kib} KiB, cut by content`, adapter: withChunks(adapter, kib * KIB) }
}

// ---- hnswlib-node

interface Hnswlib extends HnswlibLike {
  initIndex(options: { maxElements: number; m: number; efConstruction: number; randomSeed: number }): void
  addPoint(vector: number[], label: number): void
  markDelete(label: number): void
  unmarkDelete(label: number): void
  readIndexSync(path: string): void
}

interface HnswlibModule {
  HierarchicalNSW: new (space: 'cosine', dim: number) => Hnswlib
}

function hnswlibSubject(scale: Scale): Subject<Hnswlib> | Absent {
  const found = nativeEngine<HnswlibModule>(scale.root, 'hnswlib-node')
  if (found === null) return absent('hnswlib-node')
  const { HierarchicalNSW } = found.module
  const { base, of } = vectors(scale)
  const adapter = hnswlib(HierarchicalNSW, { space: 'cosine', dim: DIMENSIONS }, { version: found.version })
  const save = (engine: Hnswlib, path: string): void => engine.writeIndexSync(path)
  function load(path: string): Hnswlib {
    const engine = new HierarchicalNSW('cosine', DIMENSIONS)
    engine.readIndexSync(path)
    return engine
  }
  const marked = new WeakMap<Hnswlib, Set<number>>()
  return ofVectors<Hnswlib>(
    {
      name: 'hnswlib-node',
      layout: 'columns, in chunks of whole rows of about 4 KiB',
      create() {
        const path = join(scale.root, 'bench', 'results', 'engines', `hnswlib-${found.version}-${base}`)
        const engine = load(
          madeOnce(path, existsSync, (path) => {
            const built = new HierarchicalNSW('cosine', DIMENSIONS)
            built.initIndex({ maxElements: base * 1.02, m: 16, efConstruction: 100, randomSeed: 100 })
            for (let n = 0; n < base; n++) built.addPoint([...of(n)], n)
            built.writeIndexSync(path)
          }),
        )
        marked.set(engine, new Set())
        return engine
      },
      put(engine, key, vector) {
        // A point that is there is moved.
        if (marked.get(engine)!.delete(key)) engine.unmarkDelete(key)
        engine.addPoint([...vector], key)
      },
      remove(engine, key) {
        engine.markDelete(key)
        marked.get(engine)!.add(key)
      },
      adapter,
      isDurable: true,
      own: {
        what: 'writeIndexSync; readIndexSync',
        save: async (engine, directory) => save(engine, join(directory, 'index')),
        load: async (directory) => load(join(directory, 'index')),
      },
      tried: [whole(16, save), whole(4, save), columns(16, adapter), columns(4, adapter)],
    },
    scale,
  )
}

// ---- usearch

interface Usearch extends UsearchLike {
  add(key: bigint, vector: Float32Array, threads: number): void
  remove(key: bigint): void
}

function usearchSubject(scale: Scale): Subject<Usearch> | Absent {
  const found = nativeEngine<{ Index: new (options: object) => Usearch }>(scale.root, 'usearch')
  if (found === null) return absent('usearch')
  const { Index } = found.module
  const { base, of } = vectors(scale)
  const options = { dimensions: DIMENSIONS, metric: 'cos', connectivity: 16, expansion_add: 100, expansion_search: 64 }
  const adapter = usearch(Index, options, { version: found.version })
  const save = (engine: Usearch, path: string): void => engine.save(path)
  function load(path: string): Usearch {
    const engine = new Index(options)
    engine.load(path)
    return engine
  }
  return ofVectors<Usearch>(
    {
      name: 'usearch',
      layout: 'columns, in chunks of whole rows of about 4 KiB',
      create() {
        const path = join(scale.root, 'bench', 'results', 'engines', `usearch-${found.version}-${base}`)
        return load(
          madeOnce(path, existsSync, (path) => {
            const built = new Index(options)
            // In one thread: several build in any order.
            for (let n = 0; n < base; n++) built.add(BigInt(n), of(n), 1)
            built.save(path)
          }),
        )
      },
      put: (engine, key, vector) => engine.add(BigInt(key), vector, 1),
      remove: (engine, key) => engine.remove(BigInt(key)),
      adapter,
      isDurable: true,
      view: {
        adapter: usearch(Index, options, { version: found.version, view: true }),
        async own(directory) {
          const engine = new Index(options)
          engine.view!(join(directory, 'index'))
          return engine
        },
      },
      own: {
        what: 'save; load',
        save: async (engine, directory) => save(engine, join(directory, 'index')),
        load: async (directory) => load(join(directory, 'index')),
      },
      tried: [whole(16, save), whole(4, save), columns(16, adapter), columns(4, adapter)],
    },
    scale,
  )
}

export const vectorSubjects: Subjects = (scale) => [hnswlibSubject(scale) as never, usearchSubject(scale) as never]
