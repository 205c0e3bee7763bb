// Sound stores that the fuzzer begins with: small, and of every shape that a history gives them.

import { content, fixed } from '../../../src/format/chunking.ts'
import type { PersistOptions } from '../../../src/persist/options.ts'
import type { Store } from '../../../src/store.ts'
import type { DirectoryImage } from '../../faulty-disk/image.ts'
import { noise } from '../../support/bytes.ts'
import { build, filesOf, twoWholeCopies, visit } from '../../support/lab.ts'

export interface BaseStore {
  name: string
  image: DirectoryImage
  /** Whose `persistAt` goes on with it; null: it is one of the lab's labels. */
  goesOn: { series: number; last: number } | null
  /** Of the store at earlier moments, oldest first. */
  earlier: ReadonlyMap<string, Uint8Array>[]
}

/**
 * What the n-th snapshot of a store holds: `series` tells stores apart. Most of it is what the one before holds, too.
 */
export function contentsAt(series: number, n: number, tall = false): Record<string, Uint8Array> {
  const many = Buffer.concat([noise(512 * 4, series), noise(700, series * 100 + n), noise(512, series + 50)])
  const wide = Buffer.from(`line ${series} of ${n % 2}\n`.repeat(600))
  const blobs: Record<string, Uint8Array> = {
    many,
    one: noise(100, series * 7),
    none: new Uint8Array(0),
    'tree/wide': wide,
    'tree/twice': Buffer.concat([many, many.subarray(0, 512)]),
  }
  if (tall) blobs.tall = Buffer.concat([noise(512 * 330, series + 3), noise(512, series * 1000 + n)])
  return blobs
}

export function persistAt(series: number, n: number, tall = false): PersistOptions {
  const blobs = Object.entries(contentsAt(series, n, tall)).map(([name, source]) => [
    name,
    { source, chunking: name === 'tree/wide' ? fixed(4_096) : name === 'one' ? content() : fixed(512) },
  ])
  return {
    blobs: Object.fromEntries(blobs),
    metadata: { series, n, deep: { list: [1, [2, { three: 3 }]], bytes: noise(20, n) } },
    watermark: { at: n },
    message: `the ${n}th`,
  }
}

interface Recipe {
  name: string
  goesOn: { series: number; last: number }
  steps: ((store: Store) => Promise<unknown>)[]
}

function persists(series: number, from: number, to: number, more: Partial<PersistOptions> = {}, tall = false) {
  return Array.from({ length: to - from + 1 }, (_, i) => {
    return (store: Store) => store.persist({ ...persistAt(series, from + i, tall), ...more })
  })
}

const recipes: Recipe[] = [
  { name: 'young', goesOn: { series: 1, last: 1 }, steps: persists(1, 1, 1) },
  {
    name: 'grown',
    goesOn: { series: 2, last: 3 },
    steps: [...persists(2, 1, 2), (store) => store.tag('release'), ...persists(2, 3, 3)],
  },
  {
    name: 'rolled back',
    goesOn: { series: 3, last: 4 },
    steps: [...persists(3, 1, 3), (store) => store.rollback(1), ...persists(3, 4, 4)],
  },
  { name: 'compacted', goesOn: { series: 4, last: 9 }, steps: persists(4, 1, 9, { keepLast: 2 }) },
  { name: 'tall', goesOn: { series: 5, last: 2 }, steps: persists(5, 1, 2, {}, true) },
]

let made: Promise<BaseStore[]> | null = null

/** They are made once in a process. */
export function baseStores(): Promise<BaseStore[]> {
  made ??= makeAll()
  return made
}

async function makeAll(): Promise<BaseStore[]> {
  const stores: BaseStore[] = []
  for (const { name, goesOn, steps } of recipes) {
    let image = await build(steps[0]!)
    const earlier = [filesOf(image)]
    for (const step of steps.slice(1)) {
      image = (await visit(image, step)).image
      earlier.push(filesOf(image))
    }
    stores.push({ name, image, goesOn, earlier })
  }
  const healed = await twoWholeCopies()
  stores.push({ name: 'two copies', image: healed, goesOn: null, earlier: [filesOf(healed)] })
  return stores
}
