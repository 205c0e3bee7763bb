// Searches: two real writers at a time, killed at random moments, beside readers that are stopped and go on.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { loadSnapshot, openStore } from '../../src/open.ts'
import { randomFor, share } from '../support/effort.ts'
import { temps } from '../support/health.ts'
import { scratch } from '../support/scratch.ts'

const script = fileURLToPath(new URL('storm.mjs', import.meta.url))
const built = fileURLToPath(new URL('../../dist/index.js', import.meta.url))

interface Acknowledged {
  sequence: number
  generation: number
}

interface Said extends Partial<Acknowledged> {
  loads?: number
  files?: number
  error?: string
  code?: string | null
}

interface Child {
  process: ChildProcess
  said: Said[]
  ended: Promise<unknown>
}

function start(role: 'write' | 'read', path: string, from = 0): Child {
  if (!existsSync(built))
    throw new Error(`${built} is missing: children run from dist/, so "npm run build" comes first`)
  const child = spawn(process.execPath, [script, role, path, String(from)], { stdio: ['pipe', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const said: Said[] = []
  createInterface({ input: child.stdout }).on('line', (line) => said.push(JSON.parse(line) as Said))
  return { process: child, said, ended: once(child, 'close') }
}

/** The generation that a load gives now, all of whose blobs the readers compare. */
async function current(path: string): Promise<Acknowledged | null> {
  const snapshot = await loadSnapshot(path)
  if (snapshot === null) return null
  try {
    return { sequence: snapshot.sequence, generation: Number(await snapshot.blob('number').text()) }
  } finally {
    await snapshot.dispose()
  }
}

/** Longer on a slow machine, until there was enough of it; then it is too slow to say anything. */
const LEAST = { kills: share(12, 6), snapshots: share(30, 8), loads: share(20, 5) }
const stormMs = { least: share(8_000, 2_000), most: 30_000 }

test('writers killed at any instant, two at a time, lose nothing that was acknowledged; readers never see damage', async () => {
  const path = join(scratch(), 'store')
  const pick = randomFor('storm')
  let acknowledged: Acknowledged = { sequence: 0, generation: 0 }
  let attempted = 0
  let kills = 0
  const readers: Child[] = []
  const startMs = performance.now()
  const elapsedMs = () => performance.now() - startMs
  const enough = () => elapsedMs() > stormMs.least && kills >= LEAST.kills && acknowledged.sequence >= LEAST.snapshots
  while (!enough() && elapsedMs() < stormMs.most) {
    // They contend for the lock; one is killed while it waits, or while the other waits for it.
    const writers = [start('write', path, attempted + 1), start('write', path, attempted + 100_000)]
    await Promise.race([sleep(5_000), until(() => writers.some(({ said }) => said.length > 0))])
    if (readers.length === 0) readers.push(start('read', path), start('read', path))
    // Wherever it is in a load, it goes on when what it was about to open may be gone.
    const frozen = pick.pick(readers).process
    frozen.kill('SIGSTOP')
    for (const writer of writers) {
      await sleep(20 + pick.below(350))
      writer.process.kill('SIGKILL')
      await writer.ended
      kills += 1
    }
    frozen.kill('SIGCONT')
    for (const { said } of writers) {
      for (const line of said) {
        expect(line.error, `${line.code}`).toBeUndefined()
        if (line.sequence! >= acknowledged.sequence) acknowledged = line as Acknowledged
      }
    }
    attempted += 1_000
    const found = await current(path)
    // What was acknowledged, or one that was committed and not acknowledged any more.
    expect(found?.sequence ?? 0).toBeGreaterThanOrEqual(acknowledged.sequence)
    if (found?.sequence === acknowledged.sequence) expect(found.generation).toBe(acknowledged.generation)
  }

  let loads = 0
  for (const { process: reader, said, ended } of readers) {
    reader.stdin!.end()
    await ended
    expect(said).toEqual([{ loads: expect.any(Number), files: expect.any(Number), sequence: expect.any(Number) }])
    loads += said[0]!.loads!
  }
  console.log(`${kills} kills, ${acknowledged.sequence} snapshots, ${loads} loads`)
  expect([enough(), loads >= LEAST.loads], 'it was a storm').toEqual([true, true])

  const store = await openStore(path, { keepLast: 1 })
  expect((await store.verify()).problems).toEqual([])
  for (const generation of [1, 2, 3]) await store.persist({ blobs: { number: String(generation) } })
  expect((await current(path))?.generation).toBe(3)
  expect((await store.snapshots()).length).toBe(1)
  await store.close()
  // Nothing that the dead left is still there, and what grew was taken back.
  expect(temps(path)).toEqual([])
  expect(readdirSync(join(path, 'packs')).length).toBeLessThanOrEqual(4)
  expect(existsSync(join(path, 'quarantine'))).toBe(false)
})

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5)
}
