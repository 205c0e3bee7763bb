import { readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { basename, join } from 'node:path'
import { expect, test } from 'vitest'
import { decompressBlock } from '../../src/format/compress.ts'
import { FOOTER_BYTES, HEADER_BYTES } from '../../src/format/limits.ts'
import { parsePackFooter, parsePackIndex } from '../../src/format/pack.ts'
import { fixed, openStore } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { quickScratch } from '../support/scratch.ts'

const MARKER = 'marker-5f1c2a9b7e'

/** Files below a directory in which the marker lies, in plain or in a compressed block. */
function filesWith(marker: string, directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(directory, name)).isFile())
    .filter((name) => {
      const bytes = readFileSync(join(directory, name))
      if (name.includes(marker) || bytes.includes(marker)) return true
      return name.endsWith('.pack') && blocksIn(bytes, basename(name, '.pack')).some((block) => block.includes(marker))
    })
}

/** The blocks of a pack, decompressed. */
function blocksIn(bytes: Buffer, name: string): Buffer[] {
  const { indexOffset, indexBytes } = parsePackFooter(bytes.subarray(-FOOTER_BYTES), bytes.length, name)
  const index = parsePackIndex({
    name,
    header: bytes.subarray(0, HEADER_BYTES),
    index: bytes.subarray(indexOffset, indexOffset + indexBytes),
    footer: bytes.subarray(-FOOTER_BYTES),
    fileBytes: bytes.length,
    storeId: bytes.subarray(16, 32),
    where: name,
  })
  return Array.from({ length: index.blocks }, (_, i) => {
    const stored = bytes.subarray(index.offset(i), index.offset(i) + index.storedLength(i))
    return index.compression(i) === 0 ? stored : Buffer.from(decompressBlock(stored, index.rawLength(i)))
  })
}

test.each(['none', 'zstd'] as const)(
  'forget and a complete gc erase a snapshot: nothing below the directory has it (%s)',
  async (compression) => {
    const path = join(quickScratch(), 'store')
    const text = `${MARKER} `.repeat(2000)
    {
      await using store = await openStore(path, { compression, keep: { last: 20 } })
      // Blocks of the snapshots that stay are in the same packs, and some are shared.
      await store.persist({ blobs: { stays: noise(100_000, 1) }, chunking: fixed(4096), message: 'one' })
      await store.persist({
        blobs: { [`blob-${MARKER}`]: text, in: `x${MARKER}x`, stays: noise(100_000, 1) },
        metadata: { secret: MARKER },
        message: `message ${MARKER}`,
        chunking: fixed(4096),
      })
      await store.tag(`tag-${MARKER}`)
      await store.materialize()
      await store.persist({
        blobs: { stays: noise(100_000, 1), more: 'more' },
        chunking: fixed(4096),
        message: 'three',
      })
    }
    await using store = await openStore(path, { compression, keep: { last: 20 } })
    expect(filesWith(MARKER, path).length).toBeGreaterThan(2)
    await store.forget(`tag-${MARKER}`)
    expect(await store.gc({ complete: true })).toMatchObject({
      done: true,
      deadBytes: 0,
      remainingBytes: 0,
      untouched: [],
    })
    expect(filesWith(MARKER, path)).toEqual([])
    expect(await store.gc({ complete: true })).toMatchObject({ packs: [], deadBytes: 0 })
    // The records of commits do not bring it back either.
    rmSync(join(path, 'HEAD.json'))
    rmSync(join(path, 'HEAD.prev.json'))
    await store.repair()
    const messages = (await store.snapshots()).map(({ message }) => message)
    expect(messages).toEqual(['three', 'one'])
    expect(filesWith(MARKER, path)).toEqual([])
    expect(await store.verify()).toMatchObject({ ok: true })
  },
)

test('a complete gc names a file that is in use, and erases it once it is not', async () => {
  const path = join(quickScratch(), 'store')
  await using store = await openStore(path, { keep: { last: 20 } })
  await store.persist({ blobs: { a: MARKER } })
  const held = await store.load()
  const file = await held!.blob('a').file()
  await store.persist({ blobs: { a: 'other' } })
  await store.forget(1)
  expect(await store.gc({ complete: true })).toMatchObject({ untouched: [{ what: 'files' }] })
  expect(readFileSync(file, 'utf8')).toBe(MARKER)
  await held!.dispose()
  expect(await store.gc({ complete: true })).toMatchObject({ untouched: [] })
  expect(filesWith(MARKER, path)).toEqual([])
})

test('a complete gc erases the record of a snapshot whose blocks others have, and its line in HEAD.prev.json', async () => {
  const path = join(quickScratch(), 'store')
  await using store = await openStore(path, { keep: { last: 20 }, compression: 'none' })
  const a = { a: noise(20_000, 1) }
  const chunking = fixed(4096)
  await store.persist({ blobs: { ...a, more: noise(20_000, 3) }, chunking })
  await store.persist({ blobs: a, chunking, message: 'two' })
  await store.persist({ blobs: { b: noise(20_000, 2) }, chunking })
  await store.persist({ blobs: a, chunking, message: MARKER })
  await store.persist({ blobs: { c: noise(20_000, 4) }, chunking })
  // The first pack is rewritten, and gets the records of both snapshots that need it.
  await store.forget(1)
  expect((await store.gc({ complete: true })).packs).toMatchObject([{ action: 'rewrite' }])
  await store.forget(4)
  expect(filesWith(MARKER, path).filter((name) => name.endsWith('.pack')).length).toBeGreaterThan(0)
  await store.gc({ complete: true })
  expect(filesWith(MARKER, path)).toEqual([])
  // No block at all belongs to a rollback.
  await store.rollback(2, { message: MARKER })
  await store.rollback(5)
  await store.forget(6)
  expect(filesWith(MARKER, path)).toEqual(['HEAD.prev.json'])
  await store.gc({ complete: true })
  expect(filesWith(MARKER, path)).toEqual([])
  expect((await store.snapshots()).map(({ sequence }) => sequence)).toEqual([7, 5, 3, 2])
  expect(await store.verify()).toMatchObject({ ok: true, problems: [] })
})
