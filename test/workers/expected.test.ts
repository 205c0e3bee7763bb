import { expect, test } from 'vitest'
import { borrowBuffer } from '../../src/workers/decompress.ts'
import { expectReading, sharedPool } from '../../src/workers/pool.ts'
import { eventually } from '../support/eventually.ts'

const MIB = 1024 * 1024

test('threads are started at the first compressed read of much that is read, and not before it', async () => {
  const isOver = expectReading(32 * MIB)
  await new Promise((resolve) => setTimeout(resolve, 300))
  isOver()
  // What is over is not expected any more.
  expect(await borrowBuffer(MIB, MIB)).toBe(null)
  await new Promise((resolve) => setTimeout(resolve, 300))
  expect(sharedPool()!.isUp).toBe(false)

  const isOverToo = expectReading(32 * MIB)
  expect(await borrowBuffer(MIB, MIB)).toBe(null)
  await eventually(() => expect(sharedPool()!.isUp).toBe(true))
  isOverToo()
})
