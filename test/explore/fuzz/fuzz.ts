// One damaged store by its seed: which sound store it begins with, what happens to it, and what the oracles say. The
// same seed and kind give the same store.

import type { DirectoryImage } from '../../faulty-disk/image.ts'
import { filesOf, persistOf, visit } from '../../support/lab.ts'
import { createRandom, type Random } from '../../support/random.ts'
import { fingerprint } from '../../support/store-directory.ts'
import { type BaseStore, baseStores, persistAt } from './base-stores.ts'
import { BOMBS } from './bombs.ts'
import { imageOf } from './images.ts'
import { moveFiles } from './layout.ts'
import { type Lie, liesInBlocks } from './lies-in-blocks.ts'
import { liesInHeads } from './lies-in-heads.ts'
import { liesInLists, listBlobs } from './lies-in-lists.ts'
import { liesInPacks } from './lies-in-packs.ts'
import { type Judged, judge } from './oracles.ts'
import { damageBytes } from './raw.ts'
import { type LooseStore, putTogether, takeApart } from './take-apart.ts'

export const KINDS = ['raw', 'sealed', 'mixed', 'layout', 'listed'] as const
export type DamageKind = (typeof KINDS)[number]

export interface FuzzedStore extends Judged {
  kind: DamageKind
  seed: number
  base: string
  /** What was done to it. */
  done: string[]
}

/** An operation on a small store takes a few ms. */
const SLOW_MS = 1_000

export async function fuzzStore(kind: DamageKind, seed: number): Promise<FuzzedStore> {
  // Kinds that came later share numbers with the first four: a seed that found something keeps its meaning.
  const random = createRandom(seed * 4 + KINDS.indexOf(kind))
  const bases = await baseStores()
  const base = random.chance(0.1) ? bases[4]! : random.pick(bases)
  const files = new Map(filesOf(base.image))
  files.delete('writer.lock')
  const { files: damaged, done, rotten } = damage(kind, files, base, bases, random)
  const subject = {
    // Of several lies a load may meet another one first, and know nothing of the rot.
    rotten: kind !== 'raw' && done.length > 1 ? 2 * rotten.size : rotten.size,
    image: imageOf(damaged),
    known: await knownBlobs(),
    next: nextOf(base, random),
    random,
    slow: SLOW_MS,
  }
  return { kind, seed, base: base.name, done, ...(await judge(subject)) }
}

/** Here the garbage of other tests is collected meanwhile. `measure.ts` is strict. */
const BOMB_MS = 3_000

/** Judges a small store that asks for much; by seed 0 the largest. */
export async function fuzzBomb(name: string, seed: number): Promise<Judged> {
  const random = createRandom(seed)
  const files = await bombOf(name, seed, random)
  return await judge({
    image: imageOf(files),
    known: new Map(),
    next: persistAt(8, 1),
    random,
    rotten: 2,
    slow: BOMB_MS,
  })
}

export async function bombOf(
  name: string,
  seed: number,
  random: Random = createRandom(seed),
): Promise<ReadonlyMap<string, Uint8Array>> {
  return await BOMBS[name]!(seed === 0 ? 1 : 0.01 + random.below(50) / 100, random)
}

interface Damaged {
  files: Map<string, Uint8Array>
  done: string[]
  /** Packs with blocks that are not what was written. */
  rotten: Set<string>
}

function damage(
  kind: DamageKind,
  files: Map<string, Uint8Array>,
  base: BaseStore,
  bases: readonly BaseStore[],
  random: Random,
): Damaged {
  switch (kind) {
    case 'raw':
      return { files, ...damageBytes(files, random) }
    case 'sealed':
      return lieIn(files, random)
    case 'listed':
      return lieIn(files, random, true)
    case 'mixed': {
      const lied = lieIn(files, random)
      const { done, rotten } = damageBytes(lied.files, random)
      return { files: lied.files, done: [...lied.done, ...done], rotten: new Set([...lied.rotten, ...rotten]) }
    }
    default: {
      const others = bases.filter((each) => each !== base)
      const moved = moveFiles(files, base, others, random)
      if (random.chance(0.8)) return { files, done: moved, rotten: new Set() }
      const { done, rotten } = damageBytes(files, random)
      return { files, done: [...moved, ...done], rotten }
    }
  }
}

/** `listed`: manifests have blob lists. */
function lieIn(files: Map<string, Uint8Array>, random: Random, listed = false): Damaged {
  const lies = [listed ? liesInLists : liesInBlocks, liesInBlocks, liesInPacks, liesInHeads]
  for (let tries = 0; ; tries++) {
    const loose = takeApart(files)
    if (listed) listBlobs(loose)
    const done: string[] = []
    for (let times = random.pick([1, 1, 1, 2, 3]); times > 0; times--) {
      const lie: Lie = random.pick(random.pick(lies))
      const said = done.length === 0 ? lie(loose, random) : lieOver(lie, loose, random)
      if (said !== null) done.push(said)
    }
    try {
      return { files: putTogether(loose), done, rotten: rottenPacks(loose) }
    } catch (error) {
      // A value that no block can hold.
      if (tries === 20) throw error
    }
  }
}

/** A lie may stumble over what an earlier one left; then the store has one lie less. */
function lieOver(lie: Lie, loose: LooseStore, random: Random): string | null {
  try {
    return lie(loose, random)
  } catch (error) {
    if (error instanceof TypeError) return null
    throw error
  }
}

function rottenPacks({ packs }: LooseStore): Set<string> {
  const rotten = packs.filter(({ copies }) => copies.some(({ lie }) => lie.stored !== undefined))
  return new Set(rotten.map(({ was }) => was))
}

function nextOf(base: BaseStore, random: Random) {
  if (base.name === 'two copies') return persistOf(random.pick(['a1', 'a2']))
  const { series, last } = base.goesOn!
  return persistAt(series, last + random.below(2), base.name === 'tall')
}

let known: Promise<Map<string, string>> | null = null

/** What the blobs of all sound stores hold, by CID. */
function knownBlobs(): Promise<Map<string, string>> {
  known ??= readAll()
  return known
}

async function readAll(): Promise<Map<string, string>> {
  const all = new Map<string, string>()
  for (const { image, earlier } of await baseStores()) {
    for (const each of [image, ...earlier.map((files): DirectoryImage => imageOf(files))]) {
      await visit(each, async (store) => {
        for (const { sequence } of await store.snapshots()) {
          await using snapshot = await store.load({ at: sequence })
          for (const name of snapshot!.names) {
            const blob = snapshot!.blob(name)
            all.set(blob.cid, fingerprint(await blob.bytes()))
          }
        }
      })
    }
  }
  return all
}
