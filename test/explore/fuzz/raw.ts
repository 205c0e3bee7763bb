// Raw damage: what a disk, a bad cable or a careless hand does to the bytes of files. No checksum is made right again.

import type { Random } from '../../support/random.ts'

/** Damages some of the files in place; answers what was done, and to which packs. */
export function damageBytes(files: Map<string, Uint8Array>, random: Random): { done: string[]; rotten: Set<string> } {
  const done: string[] = []
  const rotten = new Set<string>()
  for (let times = 1 + random.below(3); times > 0; times--) {
    const names = [...files.keys()].filter((name) => name !== 'writer.lock')
    if (names.length === 0) break
    // Half of the time a pack: there are more of them than of the others.
    const packs = names.filter((name) => name.startsWith('packs/'))
    const name = packs.length > 0 && random.chance(0.5) ? random.pick(packs) : random.pick(names)
    const [label, change] = random.pick(damages)
    const bytes = change(files.get(name)!, random)
    if (bytes === null) files.delete(name)
    else files.set(name, bytes)
    done.push(`${name}: ${label}`)
    if (name.startsWith('packs/')) rotten.add(name)
  }
  return { done, rotten }
}

type Damage = [label: string, change: (bytes: Uint8Array, random: Random) => Uint8Array | null]

const damages: readonly Damage[] = [
  ['bits flipped', (bytes, random) => changed(bytes, random, (part) => (part[0]! ^= 1 << random.below(8)), 1)],
  [
    'many bits flipped',
    (bytes, random) =>
      changed(
        bytes,
        random,
        (part) => {
          for (const i of part.keys()) part[i]! ^= 4
        },
        40,
      ),
  ],
  ['a sector zeroed', (bytes, random) => changed(bytes, random, (part) => part.fill(0), 512)],
  ['a page zeroed', (bytes, random) => changed(bytes, random, (part) => part.fill(0), 4_096)],
  ['noise', (bytes, random) => changed(bytes, random, (part) => part.set(random.bytes(part.length)), 200)],
  ['cut short', (bytes, random) => bytes.slice(0, random.below(bytes.length + 1))],
  ['cut at its end', (bytes, random) => bytes.slice(0, Math.max(0, bytes.length - 1 - random.below(100)))],
  ['longer', (bytes, random) => new Uint8Array(Buffer.concat([bytes, new Uint8Array(1 + random.below(600))]))],
  ['twice', (bytes) => new Uint8Array(Buffer.concat([bytes, bytes]))],
  ['empty', () => new Uint8Array(0)],
  ['gone', () => null],
]

function changed(bytes: Uint8Array, random: Random, change: (part: Uint8Array) => void, length: number): Uint8Array {
  const copy = bytes.slice()
  const from = random.below(Math.max(1, bytes.length))
  const part = copy.subarray(from, from + length)
  if (part.length > 0) change(part)
  return copy
}
