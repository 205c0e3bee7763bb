// Values at the edges, and changes of one field somewhere in a decoded value.

import { CID } from 'multiformats/cid'
import type { Random } from '../../support/random.ts'

/** Numbers at which something ends: a byte, 31 and 32 bits, what a number holds exactly. */
export const EDGES: readonly number[] = [
  0,
  1,
  -1,
  255,
  256,
  511,
  513,
  65_536,
  2 ** 24,
  2 ** 31 - 1,
  2 ** 31,
  2 ** 32 - 1,
  2 ** 32,
  2 ** 41,
  2 ** 53 - 2,
  Number.MAX_SAFE_INTEGER,
  0.5,
]

export function oddNumber(random: Random, honest: number): number {
  const near = [honest - 1, honest + 1, honest * 2, Math.floor(honest / 2), honest + 2 ** 31, honest + 2 ** 32]
  return random.chance(0.5) ? random.pick(near) : random.pick(EDGES)
}

/** Something else in the place of a value; links and digests come from `links`. */
function oddValue(random: Random, honest: unknown, links: readonly CID[]): unknown {
  if (typeof honest === 'number' && random.chance(0.7)) return oddNumber(random, honest)
  if (honest instanceof CID && links.length > 0 && random.chance(0.8)) return random.pick(links)
  if (honest instanceof Uint8Array && random.chance(0.8)) return oddBytes(random, honest)
  if (Array.isArray(honest) && random.chance(0.6)) return oddList(random, honest)
  return random.pick<unknown>([
    null,
    true,
    0,
    -1,
    '',
    'odd',
    'x'.repeat(3_000),
    [],
    {},
    new Uint8Array(0),
    new Uint8Array(32),
    [honest],
    { odd: honest },
    2n ** 63n,
    1.5,
  ])
}

function oddBytes(random: Random, bytes: Uint8Array): Uint8Array {
  const changed = bytes.slice()
  switch (random.below(4)) {
    case 0:
      return changed.subarray(0, random.below(bytes.length + 1)).slice()
    case 1:
      return new Uint8Array(Buffer.concat([bytes, bytes]))
    case 2:
      return new Uint8Array(bytes.length)
    default:
      if (changed.length > 0) changed[random.below(changed.length)]! ^= 1 << random.below(8)
      return changed
  }
}

function oddList(random: Random, list: readonly unknown[]): unknown[] {
  if (list.length === 0) return [null]
  const at = random.below(list.length)
  switch (random.below(5)) {
    case 0:
      return list.toSpliced(at, 1)
    case 1:
      return list.toSpliced(at, 0, list[at])
    case 2:
      return list.toReversed()
    case 3:
      return []
    default:
      return [...list, ...list]
  }
}

/** A copy of the value in which one field, of all by chance, is another. Links may lead to any of `links`. */
export function withOddField(random: Random, value: unknown, links: readonly CID[] = []): unknown {
  const places = placesIn(value).filter((path) => path.length > 0)
  return places.length === 0 ? oddValue(random, value, links) : changeAt(value, random.pick(places))

  function changeAt(at: unknown, [key, ...rest]: readonly (string | number)[]): unknown {
    if (key === undefined) return oddValue(random, at, links)
    if (Array.isArray(at)) return at.with(key as number, changeAt(at[key as number], rest))
    const fields = { ...(at as Record<string, unknown>) }
    if (rest.length > 0) fields[key] = changeAt(fields[key], rest)
    else if (random.chance(0.15)) delete fields[key]
    else if (random.chance(0.1)) fields[`${key}x`] = fields[key]
    else fields[key] = changeAt(fields[key], rest)
    return fields
  }
}

function placesIn(value: unknown, path: (string | number)[] = []): (string | number)[][] {
  if (Array.isArray(value)) return [path, ...value.flatMap((inside, i) => placesIn(inside, [...path, i]))]
  if (typeof value !== 'object' || value === null) return [path]
  if (value instanceof Uint8Array || value instanceof CID) return [path]
  return [path, ...Object.entries(value).flatMap(([key, inside]) => placesIn(inside, [...path, key]))]
}
