import { execFile } from 'node:child_process'
import { closeSync, ftruncateSync, mkdtempSync, openSync, rmSync, writeSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'

// Up to 15 GiB on the disk of the temporary directory, and some minutes. Prints what it measured.

const script = fileURLToPath(new URL('large-blob.mjs', import.meta.url))
const GIB = 1024 ** 3
/**
 * What a process may need beyond what it needs for a small blob, for one of some GiB; with what comparing the bytes
 * leaves lying.
 */
const BEYOND_MIB = 160

const directory = mkdtempSync(join(tmpdir(), 'holdfast-large-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

interface Measured {
  seconds: number
  baseMiB: number
  beyondMiB: number
  [fact: string]: unknown
}

async function run(store: string, what: string, file = ''): Promise<Measured> {
  const { stdout } = await promisify(execFile)(process.execPath, [script, join(directory, store), what, file], {
    maxBuffer: 1024 * 1024,
  })
  const measured = JSON.parse(stdout) as Measured
  const { seconds, baseMiB, beyondMiB } = measured
  console.log(`${what}: ${seconds.toFixed(1)} s, peak ${baseMiB.toFixed(0)} + ${beyondMiB.toFixed(0)} MiB`)
  return measured
}

describe('a blob of 5 GiB, through streams', () => {
  test('is persisted in bounded memory', async () => {
    const measured = await run('five', 'persist')
    expect(measured).toMatchObject({ total: 5 * GIB, reused: 0, unchanged: false })
    expect(measured.beyondMiB).toBeLessThan(BEYOND_MIB)
  })

  test('is read back and verified in bounded memory', async () => {
    const measured = await run('five', 'stream')
    expect(measured.bytes).toBe(5 * GIB)
    expect(measured.beyondMiB).toBeLessThan(BEYOND_MIB)
  })

  test('gives a range beyond 4 GiB, and says so when no buffer can hold it', async () => {
    const measured = await run('five', 'range')
    expect(measured).toMatchObject({ same: true, refused: true })
  })

  test('is found to be unchanged in bounded memory, without a byte being written', async () => {
    const measured = await run('five', 'persist')
    expect(measured).toMatchObject({ total: 5 * GIB, written: 0, unchanged: true })
    expect(measured.beyondMiB).toBeLessThan(BEYOND_MIB)
    rmSync(join(directory, 'five'), { recursive: true })
  })
})

describe('a sparse file of more than 4 GiB', () => {
  const file = join(directory, 'sparse.bin')
  const size = 4 * GIB + 300_001

  test('is persisted from its path, and its holes cost next to nothing', async () => {
    const descriptor = openSync(file, 'w')
    ftruncateSync(descriptor, size)
    for (const at of [0, 1_000_000, 2 * GIB - 7, 2 ** 32 - 5, size - 11]) writeSync(descriptor, 'not a hole!', at)
    closeSync(descriptor)
    const measured = await run('sparse', 'persist-file', file)
    expect(measured.total).toBe(size)
    expect(measured.written).toBeLessThan(64 * 1024 * 1024)
    expect(measured.beyondMiB).toBeLessThan(BEYOND_MIB)
  })

  test.each(['file', 'writeTo'])('comes back byte for byte by %s()', async (what) => {
    const measured = await run('sparse', what, file)
    expect(measured).toMatchObject({ bytes: size, size })
    expect(measured.beyondMiB).toBeLessThan(BEYOND_MIB)
  })
})

describe('a blob of a million chunks', () => {
  test('is persisted, found to be unchanged, and read back in bounded memory', async () => {
    const first = await run('million', 'chunks')
    expect(first).toMatchObject({ total: 512 * 1024 ** 2, reused: 0 })
    const again = await run('million', 'chunks-again')
    expect(again).toMatchObject({ written: 0, unchanged: true })
    const read = await run('million', 'chunks-read')
    expect(read.bytes).toBe(512 * 1024 ** 2)
    for (const { beyondMiB } of [first, again, read]) expect(beyondMiB).toBeLessThan(BEYOND_MIB)
  })
})
