// A page stays small, whatever there is in a store: a model of a store at its limits, with a million chunks.

import { expect, test } from 'vitest'
import { AGES, createAgeMap, MAP_COLUMNS } from '../../src/report/chunk-ages.ts'
import type { Facts } from '../../src/report/facts.ts'
import { modelOf } from '../../src/report/model.ts'
import { pageOf } from '../../src/report/page.ts'
import { share } from '../support/effort.ts'
import { createRandom } from '../support/random.ts'

const SNAPSHOTS = 1_024
const BLOBS = 65_536
const CHUNKS = 1_000_000
const PACKS = 4_096
const PROBLEMS = 5_000

/** The dearest characters: five or eight on the page for one. */
const dear = (length: number): string => '\u202e&"<'.repeat(length / 4)

function atTheLimits(): Facts {
  const random = createRandom(1)
  const mapped = 16
  const blobs = Array.from({ length: BLOBS }, (_, i) => {
    const size = i < mapped ? (4_096 * CHUNKS) / mapped : 1
    const map = i < mapped ? createAgeMap(size) : null
    for (let chunk = 0; map !== null && chunk < CHUNKS / mapped; chunk++) {
      map.add(chunk * 4_096, (chunk + 1) * 4_096, random.below(AGES))
    }
    return { name: `${i}${dear(1_000)}`, size, map }
  })
  const sequences = Array.from({ length: SNAPSHOTS }, (_, i) => 2 ** 47 - i)
  const packs = Array.from({ length: PACKS }, (_, i) => {
    const bytes = {
      bytes: 2 ** 30 + i,
      liveBytes: 2 ** 29 + i,
      recordBytes: 2 ** 20,
      garbageBytes: 2 ** 29,
      uncountedBytes: 0,
    }
    return { pack: i.toString(16).padStart(64, 'f'), ...bytes }
  })
  const weight = { count: 123_456, bytes: 2 ** 50 }
  return {
    time: new Date(0),
    stats: {
      revision: 2 ** 47,
      current: sequences[0]!,
      snapshots: sequences.map((sequence) => ({
        sequence,
        size: 2 ** 50 + random.below(2 ** 30),
        addedBytes: 2 ** 49 + random.below(2 ** 30),
        freesBytes: 2 ** 49 + random.below(2 ** 30),
        damaged: true,
        unread: false,
      })),
      packs,
      packBytes: 2 ** 51,
      liveBytes: 2 ** 50,
      recordBytes: 2 ** 41,
      garbageBytes: 2 ** 49,
      overheadBytes: 2 ** 40,
      uncountedBytes: 2 ** 40,
      uncounted: packs.map(({ pack, bytes }) => ({
        what: 'pack',
        pack,
        bytes,
        code: 'IO_FAILED',
        message: dear(1_000),
      })),
      retired: weight,
      files: weight,
      images: weight,
      quarantine: weight,
      journal: weight,
    },
    snapshots: sequences.map((sequence, i) => ({
      sequence,
      manifest: 'b'.repeat(59),
      time: new Date(1_700_000_000_000 + i),
      message: dear(4_000),
      tags: Array.from({ length: 8 }, (_, tag) => `${i} ${tag} ${dear(200)}`),
      current: i === 0,
      abandoned: i % 2 === 1,
      size: 1,
    })),
    currentBytes: 2 ** 49,
    blobs,
    diff: {
      from: 1,
      to: 2,
      unchanged: 0,
      sharedBytes: 0,
      newBytes: 2 ** 50,
      blobs: blobs.map(({ name, size }) => ({
        name,
        change: 'changed',
        sizeBefore: size,
        size,
        sharedBytes: 0,
        newBytes: size,
      })),
    },
    verified: {
      ok: false,
      level: 'full',
      revision: 1,
      problems: Array.from({ length: PROBLEMS }, (_, i) => ({
        code: 'PACK_DAMAGED',
        what: `pack ${i}`,
        message: dear(4_000),
        pack: packs[i % PACKS]!.pack,
        blockCount: 65_536,
      })),
      snapshots: sequences.map((sequence) => ({
        sequence,
        intact: false,
        manifestLost: false,
        damagedBlobs: blobs.slice(0, 100).map(({ name }) => name),
      })),
      checked: { packs: PACKS, blocks: CHUNKS, bytes: 2 ** 50 },
    },
  }
}

test('at the limits of a store, in the dearest characters, it is below a megabyte', () => {
  const facts = atTheLimits()
  for (const isRedacted of [false, true]) {
    const page = pageOf(modelOf(facts, isRedacted))
    expect(Buffer.byteLength(page)).toBeLessThan(1_000_000)
    // It is a page of them, and not of nothing.
    expect(page).toContain(`added-${2 ** 47}"`)
    expect(page).toContain('65520 smaller blobs are not shown')
    expect(page).toContain('3976 others')
  }
})

test('a map has every byte once, where it is, whatever the chunks and the size', () => {
  const random = createRandom(2)
  const rounds = share(200, 50)
  for (let round = 0; round < rounds; round++) {
    const lengths = Array.from({ length: 1 + random.below(40) }, () => 1 + random.below(round % 3 === 0 ? 3 : 100_000))
    const size = lengths.reduce((sum, length) => sum + length, 0)
    const map = createAgeMap(size)
    const ages = lengths.map(() => random.below(AGES))
    const expected = new Array<number>(MAP_COLUMNS * AGES).fill(0)
    let start = 0
    for (const [i, length] of lengths.entries()) {
      map.add(start, start + length, ages[i]!)
      for (let column = 0; column < MAP_COLUMNS; column++) {
        const from = Math.max(start, (column * size) / MAP_COLUMNS)
        const to = Math.min(start + length, ((column + 1) * size) / MAP_COLUMNS)
        if (to > from) expected[column * AGES + ages[i]!]! += to - from
      }
      start += length
    }
    const wrong = expected.findIndex((bytes, i) => !(Math.abs(map.columns[i]! - bytes) < 0.0005))
    expect(wrong, `${map.columns[wrong]} bytes, and not ${expected[wrong]}`).toBe(-1)
    expect(map.chunks).toEqual(Array.from({ length: AGES }, (_, age) => ages.filter((each) => each === age).length))
  }
})
