// A snapshot travels as a CAR file: what is written depends on the content alone, other programs read it, and it comes
// back as it was.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { CarReader } from '@ipld/car/reader'
import { decode } from '@ipld/dag-cbor'
import { CARReaderStream } from 'carstream'
import { CID } from 'multiformats/cid'
import { expect, test } from 'vitest'
import { exportCar, importCar } from '../../src/car/index.ts'
import { blake3 } from '../../src/format/blake3.ts'
import { type BlobInput, content, fixed, memory, openStore, type Progress, type Store } from '../../src/index.ts'
import { collect, noise, sameBytes } from '../support/bytes.ts'
import { decodeCar } from '../support/car.ts'
import { rejects } from '../support/rejects.ts'
import { quickScratch } from '../support/scratch.ts'
import { kinds } from '../support/storages.ts'

/** Two levels of nodes, chunks that repeat within a blob and between blobs, one chunk, and none. */
function someBlobs(): [string, BlobInput][] {
  const large = noise(1_500_000, 1)
  return [
    ['10', 'a name that is a number'],
    ['large', { source: large, chunking: fixed(4096) }],
    ['again', { source: large, chunking: fixed(4096) }],
    ['zeros', { source: new Uint8Array(5_000_000), chunking: fixed(4096) }],
    ['text', { source: 'some words. '.repeat(200_000), chunking: content({ averageBytes: 4096 }), type: 'text/plain' }],
    ['empty', ''],
    ['one', noise(100, 2)],
  ]
}

function manyBlobs(count: number): [string, BlobInput][] {
  return Array.from({ length: count }, (_, i) => [`file ${i}`, i % 3 === 0 ? '' : `content ${i % 50}`])
}

async function exported(store: Store, at?: number): Promise<Uint8Array> {
  await using snapshot = (await store.load({ at }))!
  return await collect(exportCar(snapshot))
}

async function expectEqual(to: Store, from: Store): Promise<void> {
  await using a = (await from.load())!
  await using b = (await to.load())!
  expect([b.manifest, b.names, b.metadata, b.watermark]).toEqual([a.manifest, a.names, a.metadata, a.watermark])
  for (const name of a.names) {
    expect(sameBytes(await b.blob(name).bytes(), await a.blob(name).bytes()), name).toBe(true)
  }
}

test.each(kinds)('a snapshot comes back as it was, into a store in $name', async (kind) => {
  const from = await kind.open()
  const to = await kind.open()
  for (const [i, blobs] of [someBlobs(), manyBlobs(700), []].entries()) {
    const metadata = { i, nested: { bytes: Uint8Array.of(1, 2) } }
    const { manifest } = await from.persist({ blobs, metadata, watermark: { wal: i }, message: 'not in the file' })
    const car = await exported(from)
    const imported = await importCar(to, car, { message: `import ${i}` })
    expect(imported).toMatchObject({ manifest, unchanged: false, sequence: i + 1 })
    await expectEqual(to, from)
    expect((await to.snapshots())[0]).toMatchObject({ message: `import ${i}`, tags: [], current: true })
    expect(sameBytes(await exported(to), car)).toBe(true)
    // Once more there is nothing to write.
    expect(await importCar(to, car)).toMatchObject({ manifest, unchanged: true, bytes: { written: 0 } })
  }
  expect(await to.verify()).toMatchObject({ ok: true, problems: [] })
})

test('the bytes are the same whatever the packs look like', async () => {
  await using plain = memory({ compression: 'none' })
  await plain.persist({ blobs: someBlobs() })
  // The same content, block by block in other packs: compressed, on top of older snapshots, merged and collected.
  await using grown = memory({ compression: 'auto', keepLast: 1, packBytesMax: 1024 * 1024 })
  const blobs = someBlobs()
  for (let n = 1; n <= blobs.length; n++) await grown.persist({ blobs: blobs.slice(-n) })
  await grown.gc({ complete: true })
  expect(sameBytes(await exported(grown), await exported(plain))).toBe(true)
})

test('blocks come depth-first in the order of their links, each once', async () => {
  await using store = memory()
  for (const blobs of [someBlobs(), manyBlobs(5000)]) {
    const { manifest } = await store.persist({ blobs })
    const { roots, blocks } = decodeCar(await exported(store))
    expect(roots.map(String)).toEqual([manifest])
    const bytes = new Map(blocks.map((block) => [block.cid.toString(), block.bytes]))
    const order: string[] = []
    const seen = new Set<string>()
    function visit(cid: CID): void {
      const key = cid.toString()
      if (seen.has(key)) return
      seen.add(key)
      order.push(key)
      if (cid.code === 0x71) for (const link of linksOf(decode(bytes.get(key)!))) visit(link)
    }
    visit(roots[0]!)
    expect(blocks.map(({ cid }) => cid.toString())).toEqual(order)
  }
})

/** In the order in which they lie in the block. */
function linksOf(value: unknown): CID[] {
  const link = CID.asCID(value)
  if (link !== null) return [link]
  if (value instanceof Uint8Array || typeof value !== 'object' || value === null) return []
  // An object would give names that are numbers first. On disk, shorter names come first.
  const entries = Object.entries(value).sort(([a], [b]) => a.length - b.length || (a < b ? -1 : 1))
  return Array.isArray(value) ? value.flatMap(linksOf) : entries.flatMap(([, field]) => linksOf(field))
}

test('two other programs read it, and every block is what its CID says', async () => {
  await using store = memory()
  const { manifest } = await store.persist({ blobs: someBlobs() })
  const car = await exported(store)
  const ours = decodeCar(car).blocks.map(({ cid }) => cid.toString())

  const reader = await CarReader.fromBytes(car)
  expect((await reader.getRoots()).map(String)).toEqual([manifest])
  const first: string[] = []
  for await (const { cid, bytes } of reader.blocks()) {
    expect(Buffer.from(cid.multihash.digest).equals(blake3(bytes))).toBe(true)
    first.push(cid.toString())
  }
  expect(first).toEqual(ours)

  const second: string[] = []
  const stream = new CARReaderStream()
  const blocks = new Blob([car]).stream().pipeThrough(stream)
  for await (const { cid, bytes } of blocks) {
    expect(Buffer.from(cid.multihash.digest).equals(blake3(bytes))).toBe(true)
    second.push(cid.toString())
  }
  expect((await stream.getHeader()).roots.map(String)).toEqual([manifest])
  expect(second).toEqual(ours)
})

test('what the other program writes again is imported', async () => {
  await using from = memory()
  await using to = memory()
  const { manifest } = await from.persist({ blobs: someBlobs() })
  const { CarWriter } = await import('@ipld/car/writer')
  const { roots, blocks } = decodeCar(await exported(from))
  const { writer, out } = CarWriter.create(roots)
  const write = async (): Promise<void> => {
    for (const block of blocks) await writer.put(block)
    await writer.close()
  }
  const [imported] = await Promise.all([importCar(to, out), write()])
  expect(imported.manifest).toBe(manifest)
  await expectEqual(to, from)
})

test('a file may be given in any way, and cut anywhere', async () => {
  await using from = memory()
  const { manifest } = await from.persist({ blobs: someBlobs() })
  const car = await exported(from)
  const path = join(quickScratch(), 'snapshot.car')
  writeFileSync(path, car)
  async function* cut(bytes: number): AsyncGenerator<Uint8Array> {
    for (let at = 0; at < car.length; at += bytes) yield car.subarray(at, at + bytes)
  }
  for (const source of [{ file: path }, new Blob([car]), new Blob([car]).stream(), [car], cut(1000), cut(7)]) {
    await using to = memory()
    expect((await importCar(to, source)).manifest).toBe(manifest)
  }
})

test('an import writes only what the store does not have', async () => {
  const path = join(quickScratch(), 'store')
  await using from = memory()
  await using to = await openStore(path)
  const blobs = new Map(someBlobs())
  await to.persist({ blobs })
  await from.persist({ blobs: blobs.set('more', noise(50_000, 5)) })
  const { bytes } = await importCar(to, await exported(from))
  expect(bytes.written).toBeGreaterThan(50_000)
  expect(bytes.written).toBeLessThan(60_000)
  expect(bytes.reused).toBeGreaterThan(1_500_000)
  await expectEqual(to, from)
})

test('an import is committed as a persist is', async () => {
  await using from = memory()
  await using to = memory()
  await from.persist({ blobs: { a: 'one' } })
  const car = await exported(from)
  await to.persist({ blobs: { a: 'other' } })
  await rejects(importCar(to, car, { expectedHead: 7 }), 'HEAD_CONFLICT')
  expect(await importCar(to, car, { expectedHead: 1, keepLast: 1 })).toMatchObject({ sequence: 2, dropped: [1] })
  await expect(importCar(to, car, { expected: 1 } as never)).rejects.toThrow(TypeError)
  await using journal = await to.openJournal()
  await journal.append(Uint8Array.of(1))
  await rejects(importCar(to, car), 'COVERS_REQUIRED')
})

test('an export stops when nobody reads it any more, and when it is told to', async () => {
  await using store = memory()
  await store.persist({ blobs: { a: { source: noise(4_000_000, 1), chunking: fixed(4096) } } })
  const reports: number[] = []
  const onProgress = (progress: Progress): void => {
    if (progress.phase === 'exporting') reports.push(progress.bytes)
  }
  {
    await using snapshot = (await store.load())!
    for await (const part of exportCar(snapshot, { onProgress })) {
      expect(part.length).toBeLessThan(1_000_000)
      break
    }
  }
  expect(reports.at(-1)).toBeLessThan(1_000_000)

  await using snapshot = (await store.load())!
  const abort = new AbortController()
  const reason = new Error('enough')
  const reading = collect(
    exportCar(snapshot, {
      signal: abort.signal,
      onProgress: (progress) => progress.phase === 'exporting' && progress.bytes > 1_000_000 && abort.abort(reason),
    }),
  )
  await expect(reading).rejects.toBe(reason)
  reports.splice(0)
  await collect(exportCar(snapshot, { onProgress }))
  expect(reports.at(-1)).toBe(4_000_000)
  await snapshot.dispose()
  await rejects(collect(exportCar(snapshot)), 'SNAPSHOT_DISPOSED')
  expect(() => exportCar({} as never)).toThrow(TypeError)
})

test('a damaged snapshot gives no whole file', async () => {
  const path = join(quickScratch(), 'store')
  await using store = await openStore(path)
  await store.persist({ blobs: { a: { source: noise(400_000, 1), chunking: fixed(4096) } } })
  const pack = join(path, 'packs', readdirSync(join(path, 'packs'))[0]!)
  const bytes = readFileSync(pack)
  bytes[200_000]! ^= 1
  writeFileSync(pack, bytes)
  await using snapshot = (await store.load())!
  await rejects(collect(exportCar(snapshot)), 'SNAPSHOT_DAMAGED')
})
