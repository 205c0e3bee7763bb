// Searches: every byte of a small store flipped, every length a file may be cut to, and files that are missing, zeroed
// or noise. A load gives the right bytes, an older snapshot, or a typed error.

import { isDeepStrictEqual } from 'node:util'
import { describe, expect, test } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import { fixed } from '../../src/format/chunking.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import { noise } from '../support/bytes.ts'
import { effort, sample, share } from '../support/effort.ts'
import { type Files, filesOf, readingStore } from '../support/reading-store.ts'
import { quickScratch } from '../support/scratch.ts'
import { type Contents, contentsOf, fingerprint, storeAt } from '../support/store-directory.ts'

// A small store of two snapshots. The second shares a blob and some chunks with the first. Each has a blob with nodes
// and segments, one of a single chunk, and an empty one.

function blobsOf(sequence: number): Record<string, Uint8Array> {
  const many = Buffer.concat([noise(1_024, 1), noise(200, 10 + sequence)])
  return { many, one: noise(100, 9), none: new Uint8Array(0) }
}

function expected(sequence: number): Contents {
  const blobs = Object.entries(blobsOf(sequence)).map(([name, bytes]) => [name, fingerprint(bytes)])
  return { sequence, metadata: { sequence }, blobs: Object.fromEntries(blobs) }
}

interface Small {
  files: Files
  /** Path of the first snapshot's pack, which the second needs too, and of the second's. */
  packs: [string, string]
}

async function smallStore(): Promise<Small> {
  const path = quickScratch()
  await using store = storeAt(path)
  const packs: string[] = []
  for (const sequence of [1, 2]) {
    await store.persist({ blobs: blobsOf(sequence), metadata: { sequence }, chunking: fixed(512) })
    packs.push([...filesOf(path).keys()].find((name) => name.startsWith('packs/') && !packs.includes(name))!)
  }
  const files = [...filesOf(path)].filter(([name]) => name !== 'writer.lock')
  return { files: new Map(files), packs: [packs[0]!, packs[1]!] }
}

/** As `contentsOf`, through streams of odd ranges. */
async function streamed(snapshot: Snapshot): Promise<Contents> {
  const blobs: Record<string, string> = {}
  for (const name of snapshot.names) {
    const blob = snapshot.blob(name)
    const parts: Uint8Array[] = []
    for (let start = 0; start === 0 || start < blob.size; start += 777) {
      for await (const part of blob.stream({ start, end: start + 777 })) parts.push(part)
    }
    blobs[name] = fingerprint(Buffer.concat(parts))
  }
  return { sequence: snapshot.sequence, metadata: snapshot.metadata, blobs }
}

/**
 * What restoring comes to: `right`, `older` (the snapshot before, by fallback, with the reason), `before` (the snapshot
 * of HEAD.prev.json, by fallback, with a warning), or the code of a typed error. Anything else is what this library
 * exists to prevent, and is thrown.
 */
async function restore(files: Files, use: (s: Snapshot) => Promise<Contents>, fallback: boolean): Promise<string> {
  const store = readingStore(files)
  const restored = await store.restore(use, { fallback }).catch((error: unknown) => {
    if (!isHoldfastError(error)) throw new Error('an untyped error', { cause: error })
    if (error.kind !== 'damaged' && error.kind !== 'unsupported') throw error
    return error.code
  })
  if (restored === null) throw new Error('a damaged store looks like one that never was')
  if (typeof restored === 'string') return restored
  const { value, skipped } = restored
  await restored.snapshot.dispose()
  if (fallback && store.warnings.some(({ code, details }) => code === 'FALLBACK' && details.sequence === null)) {
    expect(value).toEqual(expected(1))
    return 'before'
  }
  if (skipped.length === 0) {
    // Thousands of times: `toEqual` would take longer than all the rest.
    if (!isDeepStrictEqual(value, expected(2))) throw new Error('wrong bytes')
    return 'right'
  }
  expect(fallback).toBe(true)
  expect(value).toEqual(expected(1))
  expect(skipped).toMatchObject([{ sequence: 2, error: { kind: 'damaged' } }])
  expect(store.warnings).toMatchObject([{ code: 'FALLBACK', details: { sequence: 2 } }])
  return 'older'
}

/** How often each outcome came out of `damaged`, with and without fallback. */
async function outcomes(
  small: Small,
  name: string,
  variants: Iterable<[label: string, bytes: Uint8Array | null]>,
): Promise<{ plain: Record<string, number>; fallback: Record<string, number> }> {
  let odd = false
  const counts = { plain: {} as Record<string, number>, fallback: {} as Record<string, number> }
  for (const [label, bytes] of variants) {
    const files = new Map(small.files)
    if (bytes === null) files.delete(name)
    else files.set(name, bytes)
    try {
      const plain = await restore(files, contentsOf, false)
      // Every other time; what can be read without falling back is never passed over.
      const fallback = plain === 'right' && odd ? plain : await restore(files, streamed, true)
      odd = !odd
      if (plain === 'right') expect(fallback).toBe('right')
      counts.plain[plain] = (counts.plain[plain] ?? 0) + 1
      counts.fallback[fallback] = (counts.fallback[fallback] ?? 0) + 1
    } catch (error) {
      throw new Error(`${name}, ${label}`, { cause: error })
    }
  }
  return counts
}

function* flips(bytes: Uint8Array): Generator<[string, Uint8Array]> {
  for (const at of sample('flips', [...bytes.keys()])) {
    const flipped = bytes.slice()
    flipped[at]! ^= 1 << (at % 8)
    yield [`bit ${at % 8} of byte ${at} flipped`, flipped]
  }
}

/** Every length near the ends, and some between. */
function* truncations(bytes: Uint8Array): Generator<[string, Uint8Array]> {
  for (const length of sample('lengths', [...bytes.keys()])) {
    const near = length < 100 || bytes.length - length < 200
    if (near || length % 23 === 0) yield [`cut to ${length} bytes`, bytes.slice(0, length)]
  }
}

function* others(bytes: Uint8Array): Generator<[string, Uint8Array | null]> {
  yield ['missing', null]
  yield ['zeroed', new Uint8Array(bytes.length)]
  yield ['followed by a zero', Buffer.concat([bytes, new Uint8Array(1)])]
  yield ['followed by itself', Buffer.concat([bytes, bytes])]
  yield ['noise', noise(bytes.length, 5)]
}

type Damage = (bytes: Uint8Array) => Iterable<[string, Uint8Array | null]>
const damages: [string, Damage][] = [
  ['with every byte flipped in turn', flips],
  ['cut short at many lengths', truncations],
  ['missing, zeroed, too long or noise', others],
]

describe.each(damages)('a store with one of its files %s', (_, damage) => {
  test('is damaged when that is HEAD.json or STORE.json, never one that there never was', async () => {
    const small = await smallStore()
    const head = await outcomes(small, 'HEAD.json', damage(small.files.get('HEAD.json')!))
    const { HEAD_DAMAGED = 0, HEAD_MISSING = 0, ...unexpected } = head.plain
    expect(unexpected).toEqual({})
    expect(HEAD_DAMAGED).toBeGreaterThan(0)
    expect(HEAD_MISSING).toBe(damage === others ? 1 : 0)
    const store = await outcomes(small, 'STORE.json', damage(small.files.get('STORE.json')!))
    expect(Object.keys(store.plain)).toEqual(['STORE_DAMAGED'])
    // Of a lost HEAD there is the one before; of a lost STORE.json there is no other.
    expect(head.fallback).toEqual({ before: HEAD_DAMAGED + HEAD_MISSING })
    expect(store.fallback).toEqual(store.plain)
  })

  test('gives the snapshot when that is HEAD.prev.json', async () => {
    const small = await smallStore()
    const { plain } = await outcomes(small, 'HEAD.prev.json', damage(small.files.get('HEAD.prev.json')!))
    expect(Object.keys(plain)).toEqual(['right'])
  })

  test('gives the right bytes, the snapshot before or a typed error when that is the pack of the current snapshot', async () => {
    const small = await smallStore()
    const [, pack] = small.packs
    const { plain, fallback } = await outcomes(small, pack, damage(small.files.get(pack)!))
    const { SNAPSHOT_DAMAGED = 0, BLOB_DAMAGED = 0, right = 0, ...unexpected } = plain
    expect(unexpected).toEqual({})
    // A flip in the segments' digests is no damage: the chunks decide.
    expect(SNAPSHOT_DAMAGED + BLOB_DAMAGED).toBeGreaterThan((effort === 1 ? 8 : 6) * right)
    // Everything that is damaged has a snapshot before it that is not.
    expect(Object.keys(fallback)).toEqual(expect.not.arrayContaining(['SNAPSHOT_DAMAGED', 'BLOB_DAMAGED']))
    expect(fallback.older).toBeGreaterThan(0)
  })

  test('gives the right bytes or a typed error when that is a pack that all snapshots need', async () => {
    const small = await smallStore()
    const [pack] = small.packs
    const { plain, fallback } = await outcomes(small, pack, damage(small.files.get(pack)!))
    const { BLOB_DAMAGED, right = 0, ...unexpected } = plain
    expect(unexpected).toEqual({})
    expect(BLOB_DAMAGED).toBeGreaterThan(0)
    // Of the older snapshot there are blocks in it that the current one does not need.
    if (damage === flips) expect(right).toBeGreaterThan(share(100))
    expect(fallback.older ?? 0).toBe(0)
  })
})

describe('packs that are not what their names say', () => {
  test('are damaged when they have changed places', async () => {
    const { files, packs } = await smallStore()
    const [first, second] = packs
    const swapped = new Map(files).set(first, files.get(second)!).set(second, files.get(first)!)
    expect(await restore(swapped, contentsOf, false)).toBe('SNAPSHOT_DAMAGED')
    expect(await restore(swapped, contentsOf, true)).toBe('SNAPSHOT_DAMAGED')
  })

  test('are damaged when they come from another store, though the blocks in them are the same', async () => {
    const { files, packs } = await smallStore()
    const other = await smallStore()
    for (const [i, pack] of packs.entries()) {
      const foreign = new Map(files).set(pack, other.files.get(other.packs[i]!)!)
      expect(await restore(foreign, contentsOf, false)).toMatch(/^(SNAPSHOT|BLOB)_DAMAGED$/)
    }
  })

  test('are not looked for under another name', async () => {
    const { files, packs } = await smallStore()
    const renamed = new Map(files).set(`packs/${'0'.repeat(64)}.pack`, files.get(packs[1])!)
    renamed.delete(packs[1])
    expect(await restore(renamed, contentsOf, false)).toBe('SNAPSHOT_DAMAGED')
    expect(await restore(renamed, contentsOf, true)).toBe('older')
  })
})
