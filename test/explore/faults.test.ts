// Searches: each call of an operation fails in one of the ways it can, and outages that begin at any call, on the
// simulated disk.

import { describe, expect, test } from 'vitest'
import { fixed } from '../../src/format/chunking.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { effort, randomFor, seed, share } from '../support/effort.ts'
import { createRandom } from '../support/random.ts'
import type { Scenario } from './explore.ts'
import { faultsFor, injectFaults, injectOutage, OUTAGES, rehearse } from './faults.ts'
import { observe, openOn, persistOf } from './model.ts'
import { histories, housekeeping, persists } from './scenarios.ts'
import { files } from './scenarios-files.ts'
import { tally } from './tally.ts'

const count = tally('faults')

/** All but those that would say the same again at greater length. */
const scenarios: Scenario[] = [
  ...persists.filter(({ limit }) => limit === undefined),
  ...histories,
  ...housekeeping,
  files[0]!,
]

function named(some: readonly Scenario[]): [string, Scenario][] {
  return some.map((scenario) => [scenario.name, scenario])
}

/** Calls of a scenario that are failed, each in one way; the slow run fails all, in every way. */
const CALLS = share(60, 12)

describe('a call fails', () => {
  test.each(named(scenarios))(
    '%s: it succeeds or nothing has changed, no temp stays, and the next goes well',
    async (_name, scenario) => {
      const rehearsed = await rehearse(scenario)
      const stride = Math.max(1, rehearsed.calls.length / CALLS)
      const offset = effort === 1 ? 0 : randomFor(rehearsed.scenario.name).below(Math.floor(stride))
      const chosen = new Set(Array.from({ length: CALLS }, (_, i) => 1 + offset + Math.floor(i * stride)))
      // One of its faults each, another one for the next call of its kind.
      const turns = new Map<string, number>()
      const injected = await injectFaults(
        rehearsed,
        (call, random) => {
          if (!chosen.has(call.number)) return []
          const turn = turns.get(call.name) ?? random.below(8)
          turns.set(call.name, turn + 1)
          const faults = faultsFor(call)
          return [faults[turn % faults.length]!]
        },
        effort === 1 ? 1 : seed,
      )
      count(injected)
      expect(injected.faults).toBe(Math.min(CALLS, rehearsed.calls.length))
      expect(injected.survived).toBeLessThan(injected.faults)
    },
    300_000,
  )
})

/** Of the calls from which on an outage lasts, the part that is tried. */
const part = Math.max(effort, 0.4)

describe.each(Object.entries(OUTAGES))('from some call on there is %s', (_name, outage) => {
  test.each(named([persists[0]!, persists[1]!, persists[3]!, housekeeping[2]!]))(
    '%s: nothing has changed, and when that is over it goes well',
    async (_name, scenario) => {
      const injected = await injectOutage(
        await rehearse(scenario),
        outage,
        Math.round(9 / part),
        effort === 1 ? 1 : seed,
      )
      count(injected)
      expect(injected.survived).toBeLessThan(injected.faults)
    },
    300_000,
  )
})

test('a disk that is really full fails a persist and keeps what it has; with room again all goes well', async () => {
  const disk = createDisk(null, { capacityBytes: 40_000 })
  const store = openOn(disk.start(), { keepLast: 1 })
  let full: unknown = null
  let persisted = 0
  for (; full === null; persisted++) {
    full = await store.persist({ ...persistOf(`${persisted}/1`), keepLast: 100 }).then(
      () => null,
      (error: unknown) => error,
    )
  }
  expect(full).toMatchObject({ code: 'NO_SPACE' })
  expect(persisted).toBeGreaterThan(2)
  const seen = await observe(openOn(createDisk(disk.image()).start()))
  expect(seen.split('\n')).toHaveLength(persisted - 1)
  expect(disk.image().entries.size).toBe(1)
  const roomy = createDisk(disk.image())
  const again = openOn(roomy.start(), { keepLast: 1 })
  await again.persist(persistOf('fits/1'))
  await again.persist(persistOf('fits/2'))
  expect(await observe(again)).toBe(`${persisted + 1} fits/2 current`)
})

test('of a large pack that is fsynced early, one failed fsync fails the persist, though the last one succeeds', async () => {
  const disk = createDisk()
  const store = openOn(disk.start())
  await store.persist(persistOf('a/1'))
  let syncs = 0
  disk.onCall = ({ name, path }) =>
    name === 'sync' && path.includes('/tmp/') && ++syncs === 1 ? { error: 'EIO', lose: true } : undefined
  const blob = Buffer.alloc(40 * 1024 * 1024, 'large')
  blob.set(createRandom(1).bytes(64), blob.length - 64)
  for (let at = 0; at < blob.length; at += 65_536) blob.writeUInt32LE(at, at)
  const failed = await store
    .persist({ blobs: { blob: { source: blob, chunking: fixed(65_536) } } })
    .catch((error) => error)
  expect(failed).toMatchObject({ code: 'IO_FAILED' })
  expect(syncs).toBeGreaterThan(0)
  expect(await observe(openOn(createDisk(disk.image()).start()))).toBe('1 a/1 current')
})
