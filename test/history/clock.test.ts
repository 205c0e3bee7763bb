import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { loadSnapshot, openStore } from '../../src/open.ts'
import { temps } from '../support/health.ts'
import { scratch } from '../support/scratch.ts'

const child = fileURLToPath(new URL('clock.mjs', import.meta.url))
const year = 365 * 24 * 60 * 60 * 1000

function persistAt(path: string, offsetMs: number, generation: number): { sequence: number; kept: string[] } {
  const args = [child, path, String(offsetMs), String(generation), '2']
  const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', timeout: 250_000 })
  expect([stderr, status]).toEqual(['', 0])
  return JSON.parse(stdout)
}

async function current(path: string): Promise<number> {
  const snapshot = await loadSnapshot(path, { required: true })
  const [first] = await snapshot!.blob('index').bytes()
  await snapshot!.dispose()
  return first!
}

describe('with the clock set back', () => {
  test('the newest snapshot is the last one persisted, and the last ones are kept', async () => {
    const path = join(scratch(), 'store')
    const offsets = [10 * year, -20 * year, 0, -30 * year, 5 * year, -1]
    for (const [index, offset] of offsets.entries()) {
      const generation = index + 1
      const kept = [generation, generation - 1].filter((each) => each > 0).map(String)
      expect(persistAt(path, offset, generation)).toEqual({ sequence: generation, kept })
      expect(await current(path)).toBe(generation)
      expect(temps(path)).toEqual([])
    }
    const store = await openStore(path)
    const snapshots = await store.snapshots()
    // The times are as the clock told them, and mean nothing for the order.
    expect(snapshots[0]!.time.getTime()).toBeLessThan(snapshots[1]!.time.getTime())
    expect((await store.verify()).problems).toEqual([])
    await store.rollback(5)
    expect(await current(path)).toBe(5)
    await store.close()
  })
})
