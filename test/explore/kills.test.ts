// Searches: real processes, killed at random moments of a persist.

import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { verify } from '../support/content.mjs'
import { randomFor, share } from '../support/effort.ts'
import { type Child, start } from '../support/processes.ts'
import { scratch } from '../support/scratch.ts'
import { expectTidy, listing, storeAt } from '../support/store-directory.ts'

const KILLS = share(100, 20)
const writer = new URL('../support/writer.mjs', import.meta.url)
const reader = new URL('../support/reader.mjs', import.meta.url)

/** The current snapshot's number, every byte of it verified; 0 when there is none. */
async function current(path: string): Promise<number> {
  await using store = storeAt(path)
  await using snapshot = await store.load()
  return snapshot === null ? 0 : await verify(snapshot)
}

test(`a process killed at ${KILLS} random moments never loses what it acknowledged, nor shows a reader anything wrong`, async () => {
  const path = join(scratch(), 'store')
  const watching = start(reader, path)
  expect(await watching.hear()).toBe('ready')
  const random = randomFor('kills')
  const kills = { beforeAnything: 0, leavingTemps: 0, acknowledged: 0, unacknowledged: 0 }
  // The next one is loading while this one is killed.
  let next: Child = start(writer, path, '2')
  let last = 0
  let windowMs = 0
  for (let kill = 0; kill < KILLS; kill++) {
    const victim = next
    expect(await victim.hear()).toBe('ready')
    if (kill + 1 < KILLS) next = start(writer, path, '2')
    victim.say(String(last + 1))
    const heard: string[] = []
    if (kill === 0) {
      // The first one tells how long a persist takes here and now.
      const startMs = performance.now()
      heard.push(await victim.hear())
      windowMs = 1.5 * (performance.now() - startMs)
    } else await sleep((random.below(1000) / 1000) * windowMs)
    await victim.kill()
    const acknowledged = [...heard, ...victim.said()].map((line) => Number(line.split(' ')[0]))
    // About as long as one or two persists take here and now, so that all moments get their share.
    windowMs *= acknowledged.length > 0 ? 0.9 : 1.1
    const found = await current(path)
    const promised = acknowledged.at(-1) ?? last
    expect(found, `after kill ${kill}`).toBeGreaterThanOrEqual(promised)
    expect(found, `after kill ${kill}`).toBeLessThanOrEqual(promised + 1)
    if (found > promised) kills.unacknowledged += 1
    if (acknowledged.length > 0) kills.acknowledged += 1
    if (!existsSync(path)) kills.beforeAnything += 1
    if (listing(path, 'tmp').length > 0) kills.leavingTemps += 1
    last = found
  }
  await watching.end()
  const seen = JSON.parse(watching.said().at(-1)!) as { loads: number; distinct: number; newest: number }
  expect(seen.newest).toBeLessThanOrEqual(last)
  expect(seen.loads).toBeGreaterThan(KILLS / 5)
  expect(seen.distinct).toBeGreaterThan(KILLS >= 100 ? KILLS / 20 : 0)
  // Otherwise they were not killed in the middle.
  expect(kills.leavingTemps).toBeGreaterThan(KILLS / 10)
  expect(kills.acknowledged).toBeGreaterThan(KILLS / 20)

  await using store = storeAt(path, { keepLast: 1 })
  await store.persist({ blobs: { a: 'the last' } })
  expectTidy(path)
})
