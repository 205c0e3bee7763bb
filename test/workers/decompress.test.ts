import { afterEach, describe, expect, test, vi } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { compressBlock } from '../../src/format/compress.ts'
import { prepareCompression } from '../../src/format/compression.ts'
import { borrowBuffer, type SharedBuffer } from '../../src/workers/decompress.ts'
import { sharedPool } from '../../src/workers/pool.ts'
import { eventually } from '../support/eventually.ts'

const MIB = 1024 * 1024
const block = Buffer.from(Array.from({ length: 2000 }, (_, i) => `line ${i} of many, `).join(''))

function frameOf(bytes: Uint8Array): Uint8Array {
  expect(prepareCompression()).toEqual({ ready: true })
  return compressBlock(bytes)!
}

function framesOf(frame: Uint8Array) {
  return {
    offsets: Uint32Array.of(0),
    lengths: Uint32Array.of(frame.length),
    rawLengths: Uint32Array.of(block.length),
    checks: blake3(frame).slice(0, 8),
  }
}

async function isUp(): Promise<void> {
  await eventually(() => expect(sharedPool()!.isUp).toBe(true))
}

afterEach(() => {
  vi.unstubAllEnvs()
})

describe('threads that decompress', () => {
  test('are started by more than the main thread does meanwhile, and asked when they are up', async () => {
    expect(sharedPool()!.isUp).toBe(false)
    for (let bytes = 0; bytes < 16 * MIB; bytes += MIB) expect(await borrowBuffer(MIB, MIB)).toBe(null)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(sharedPool()!.isUp).toBe(false)
    expect(await borrowBuffer(MIB, MIB)).toBe(null)
    await isUp()
    const slot = (await borrowBuffer(MIB, 2 * MIB))!
    expect(slot.stored.length).toBe(MIB)
    expect(slot.raw.length).toBe(2 * MIB)
    slot.release()
  })

  test('are not asked for what is little, nor where they are forbidden', async () => {
    sharedPool()!.startUp()
    await isUp()
    expect(await borrowBuffer(1000, 200_000)).toBe(null)
    vi.stubEnv('HOLDFAST_WORKERS', '0')
    expect(await borrowBuffer(MIB, MIB)).toBe(null)
  })

  test('give the blocks; of a frame that is not what it was they say so, and leave it as it is', async () => {
    sharedPool()!.startUp()
    await isUp()
    const frame = frameOf(block)
    const slot = (await borrowBuffer(frame.length, MIB))!
    slot.stored.set(frame)
    expect(await slot.decompress(framesOf(frame))).toBe(true)
    expect(Buffer.compare(slot.raw.subarray(0, block.length), block)).toBe(0)
    slot.stored[frame.length - 1]! ^= 1
    const damaged = slot.stored.slice()
    expect(await slot.decompress(framesOf(frame))).toBe(false)
    expect(Buffer.compare(slot.stored, damaged)).toBe(0)
    slot.release()
  })

  test('have room for four reads at a time, however large; the next waits', async () => {
    sharedPool()!.startUp()
    await isUp()
    const slots: SharedBuffer[] = []
    for (const bytes of [MIB, MIB, MIB, 16 * MIB]) slots.push((await borrowBuffer(bytes, bytes))!)
    expect(slots[3]!.raw.length).toBe(16 * MIB)
    let given: SharedBuffer | null = null
    const fifth = borrowBuffer(MIB, MIB).then((slot) => {
      given = slot
    })
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(given).toBe(null)
    slots[1]!.release()
    await fifth
    // None shares its memory with another.
    given!.raw.fill(7)
    for (const slot of [slots[0]!, slots[2]!, slots[3]!]) expect(slot.raw.includes(7)).toBe(false)
    for (const slot of [slots[0]!, slots[2]!, slots[3]!, given!]) slot.release()
  })
})
