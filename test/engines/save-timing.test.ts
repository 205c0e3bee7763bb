// When autosave saves next, as a function of what happened.

import { describe, expect, test } from 'vitest'
import { dueAt, retryDelayMs } from '../../src/engines/save-timing.ts'

const options = {
  everyMs: 1000,
  afterChanges: 10,
  quietMs: 100,
  quietLimitMs: 500,
  retryMs: 50,
  retryLimitMs: 200,
}
const idle = {
  pending: 0,
  canWait: false,
  firstChangeMs: 0,
  lastChangeMs: 0,
  manyMs: null,
  checkedMs: 5000,
  retryAtMs: 0,
}
const changed = { ...idle, pending: 1, firstChangeMs: 5000, lastChangeMs: 5000 }

describe('dueAt', () => {
  test('is never while nothing is pending and changes are reported', () => {
    expect(dueAt({ ...idle, canWait: true }, options)).toBeNull()
  })

  test('is everyMs after the last look while nothing is pending, or after the wait of a failure', () => {
    expect(dueAt(idle, options)).toBe(6000)
    expect(dueAt({ ...idle, retryAtMs: 7000 }, options)).toBe(7000)
  })

  test('is everyMs after the oldest change, and earlier with many of them', () => {
    expect(dueAt(changed, options)).toBe(6000)
    expect(dueAt({ ...changed, manyMs: 5200 }, options)).toBe(5200)
  })

  test('is put off by newer changes, up to the limit', () => {
    expect(dueAt({ ...changed, lastChangeMs: 5950 }, options)).toBe(6050)
    expect(dueAt({ ...changed, lastChangeMs: 6480 }, options)).toBe(6500)
  })

  test('is not before the wait of a failure ends', () => {
    expect(dueAt({ ...changed, manyMs: 5200, retryAtMs: 5900 }, options)).toBe(5900)
  })
})

test('retryDelayMs doubles up to the limit, however many failures there were', () => {
  expect([1, 2, 3, 4, 1000].map((failures) => retryDelayMs(failures, options))).toEqual([50, 100, 200, 200, 200])
})
