// A dry run answers what the same persist then does, and changes nothing.

import { subscribe, unsubscribe } from 'node:diagnostics_channel'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { content, fixed, openStore, type PersistOptions, type PersistResult, persistSnapshot } from '../../src/index.ts'
import { insideOf } from '../../src/inside.ts'
import { noise } from '../support/bytes.ts'
import { scratch } from '../support/scratch.ts'
import { kinds } from '../support/storages.ts'
import { tree } from '../support/tree.ts'

/** Some chunks of 4 KiB are new each time. */
function blobAt(n: number): Uint8Array {
  const bytes = noise(40 * 4096, 1)
  for (let i = 0; i < 6; i++) bytes.set(noise(4096, 100 * n + i), ((7 * n + 5 * i) % 40) * 4096)
  return bytes
}

const requestAt = (n: number): PersistOptions => ({
  blobs: { a: { source: blobAt(n), chunking: fixed(4096) }, text: `${'a line of text\n'.repeat(2000)}${n}` },
  message: `the ${n}th`,
  metadata: { n },
})

function without({ durationMs, ...rest }: PersistResult): Omit<PersistResult, 'durationMs'> {
  return rest
}

describe.each(kinds)('a dry run ($name)', ({ open, supports }) => {
  test('answers what the same persist then does: bytes, packs that are merged, snapshots that are dropped', async () => {
    const store = await open({ keep: { last: 12, daily: 2 } })
    let compacted = 0
    let dropped = 0
    for (let n = 0; n < 20; n++) {
      if (n === 5) await store.tag('v1')
      const planned = await store.persist({ ...requestAt(n), dryRun: true })
      const made = await store.persist(requestAt(n))
      // In an object store the commit record has a pack of its own, and old packs are rewritten by how much is known of
      // them.
      if (supports.alone) expect(without(planned)).toEqual(without(made))
      else expect(planned.dropped).toEqual(made.dropped)
      expect(planned.kept).toEqual(made.kept)
      expect(planned.blobs).toEqual(made.blobs)
      compacted += planned.bytes.compacted
      dropped += planned.dropped.length
    }
    expect(compacted).toBeGreaterThan(0)
    expect(dropped).toBe(7)
    const { kept } = await store.persist({ ...requestAt(20), dryRun: true })
    expect(kept.map(({ sequence }) => sequence)).toEqual([21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 5])
    expect(kept[0]!.reasons.slice(0, 2)).toEqual(['current', 'last 1'])
    expect(kept.at(-1)!.reasons).toEqual(['tag v1'])
    const again = await store.persist({ ...requestAt(19), dryRun: true })
    expect(again).toMatchObject({ sequence: 20, unchanged: true, dropped: [], kept: [], bytes: { written: 0 } })
  })

  test('changes nothing, tells nobody, and is not remembered', async () => {
    const store = await open()
    await store.persist(requestAt(0))
    const { storage } = insideOf(store, 'a test').ctx
    const look = async () => ({ head: (await storage.readHead())!.bytes, packs: (await storage.inspect()).packs })
    const before = await look()
    const told: unknown[] = []
    const tell = (message: unknown): number => told.push(message)
    subscribe('holdfast:persist', tell)
    onTestFinished(() => void unsubscribe('holdfast:persist', tell))
    expect((await store.persist({ ...requestAt(1), dryRun: true })).bytes.written).toBeGreaterThan(6 * 4096)
    expect(await look()).toEqual(before)
    expect(told).toEqual([])
    // What a dry run saw is not in the store, so the persist writes it.
    await store.persist(requestAt(1))
    expect(await store.verify({ level: 'full' })).toMatchObject({ ok: true })
    await using snapshot = (await store.load())!
    expect(Buffer.from(blobAt(1)).equals(await snapshot.blob('a').bytes())).toBe(true)
  })

  test('waits for nobody who writes', async () => {
    const store = await open({ lockWaitMs: 0 })
    await store.persist(requestAt(0))
    await insideOf(store, 'a test').ctx.storage.write({ waitMs: 0 }, async () => {
      expect((await store.persist({ ...requestAt(1), dryRun: true })).sequence).toBe(2)
    })
  })

  test('refuses what the persist would refuse', async () => {
    const store = await open()
    await store.persist(requestAt(0))
    const conflict = store.persist({ ...requestAt(1), dryRun: true, expectedHead: 7 })
    await expect(conflict).rejects.toMatchObject({ code: 'HEAD_CONFLICT' })
    await expect(store.persist({ ...requestAt(1), dryRun: true, keepLast: 0 })).rejects.toThrow(RangeError)
    await expect(store.persist({ ...requestAt(1), dryRun: 1 as never })).rejects.toThrow(TypeError)
  })
})

test('where there is no store, a dry run makes none', async () => {
  const path = join(scratch(), 'store')
  const planned = await persistSnapshot(path, { ...requestAt(0), dryRun: true })
  expect(planned).toMatchObject({ sequence: 1, dropped: [], kept: [{ sequence: 1 }], bytes: { reused: 0 } })
  expect(existsSync(path)).toBe(false)
})

test('a store that is opened to be read answers, with not one file touched', async () => {
  const path = join(scratch(), 'store')
  const made = await persistSnapshot(path, requestAt(0))
  const before = tree(path)
  await using store = await openStore(path, { readOnly: true })
  const request = { ...requestAt(1), chunking: content() }
  const { bytes } = await store.persist({ ...request, dryRun: true })
  expect(bytes.written).toBeLessThan(made.bytes.written)
  expect(tree(path)).toEqual(before)
  await expect(store.persist(request)).rejects.toMatchObject({ code: 'READ_ONLY' })
})
