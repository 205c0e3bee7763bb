import { readFileSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { noise } from '../support/bytes.ts'
import { type Child, start } from '../support/processes.ts'
import { scratch } from '../support/scratch.ts'
import {
  contentsOf,
  expectTidy,
  fingerprint,
  generation,
  listing,
  loadContents,
  storeAt,
} from '../support/store-directory.ts'

const large = noise(9 * 1024 * 1024, 5)

/** A store with a snapshot, and a process that is half-way through something in it. */
async function halfway(what: 'stream' | 'save' | 'file'): Promise<{ path: string; child: Child }> {
  const path = join(scratch(), 'store')
  await using store = storeAt(path)
  await store.persist({ blobs: { large } })
  const child = start(new URL('halfway.mjs', import.meta.url), path, what)
  expect(await child.hear()).toBe('half-way')
  await untilStill(path)
  return { path, child }
}

/** On a busy machine the process is still making the files for its HEAD while its source waits. */
async function untilStill(path: string): Promise<void> {
  for (let before = '', now = listing(path, 'tmp').join(); now !== before; now = listing(path, 'tmp').join()) {
    before = now
    await new Promise((resolve) => setTimeout(resolve, 300))
  }
}

describe('what a killed process left half-way', () => {
  test.each([
    ['through a stream, in a temporary pack', 'stream', 3],
    ['saving into a path, in a work directory', 'save', 2],
  ] as const)('%s, does not show, and is gone after the next persist', async (_, what, entries) => {
    const { path, child } = await halfway(what)
    await child.kill()
    expect(listing(path, 'tmp')).toHaveLength(entries)
    expect(await loadContents(path)).toEqual({ sequence: 1, metadata: {}, blobs: { large: fingerprint(large) } })
    await storeAt(path).persist(generation(1))
    expectTidy(path)
  })

  test('laying out a file, is gone after the next persist', async () => {
    const { path, child } = await halfway('file')
    await child.kill()
    expect(listing(path, 'files/.tmp')).toHaveLength(1)
    await storeAt(path).persist(generation(1))
    expectTidy(path)
  })
})

describe('what a living process has half-way', () => {
  test.each(['stream', 'save'] as const)('(%s) stays, even when its lock file was deleted under it', async (what) => {
    const { path, child } = await halfway(what)
    // Of HEAD's second name nothing is lost with it but the right to commit.
    const isHead = (name: string): boolean =>
      statSync(join(path, 'tmp', name)).ino === statSync(join(path, 'HEAD.json')).ino
    const inFlight = listing(path, 'tmp').filter((name) => !isHead(name))
    expect(inFlight).toHaveLength(2)
    rmSync(join(path, 'writer.lock'))
    {
      // Closed, so that it does nothing behind the persist.
      await using other = storeAt(path)
      await other.persist(generation(1))
    }
    expect(listing(path, 'tmp')).toEqual(inFlight)
    await child.kill()
    await storeAt(path).persist(generation(2))
    expectTidy(path)
  })

  test('laying out a file stays, and another process lays out its own beside it', async () => {
    const { path, child } = await halfway('file')
    const inFlight = listing(path, 'files/.tmp')
    await using store = storeAt(path)
    await using snapshot = (await store.load())!
    const file = await snapshot.blob('large').file()
    expect(fingerprint(readFileSync(file))).toBe(fingerprint(large))
    await store.persist(generation(1))
    expect(listing(path, 'files/.tmp')).toEqual(inFlight)
    expect(await contentsOf(snapshot)).toMatchObject({ sequence: 1 })
    await child.kill()
  })
})
