// Restoring: names that would lead out, directories, and the files of engines that are not installed.

import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { persistEngine } from '../../src/engines/adapter.ts'
import { type HnswlibLike, hnswlib } from '../../src/engines/hnswlib.ts'
import { type UsearchLike, usearch } from '../../src/engines/usearch.ts'
import { openStore, persistSnapshot } from '../../src/index.ts'
import { nativeEngine, skipVisibly, vector } from '../engines/native.ts'
import { scratch } from '../support/scratch.ts'
import { files } from '../support/tree.ts'
import { done, holdfast } from './holdfast.ts'

test('no name leads out of the directory, and the document says which file is which blob', async () => {
  const directory = scratch()
  const store = join(directory, 'store')
  const names = ['../escaped', '/etc/passwd', 'a', 'a/b', 'c/../../d', '..', 'plain.json', `${'long'.repeat(100)}/x`]
  const blobs = names.map((name): [string, string] => [name, `content of ${name}`])
  await persistSnapshot(store, { blobs: [...blobs, ['empty/', '']] })
  const target = join(directory, 'below', 'out')
  const { document } = await done(['restore', '-o', target, '-s', store, '--json'])
  expect(readdirSync(directory).sort()).toEqual(['below', 'store'])
  expect(readdirSync(join(directory, 'below'))).toEqual(['out'])
  expect(statSync(join(target, 'empty')).isDirectory()).toBe(true)
  const restored = (document.files as { blob: string; path: string }[]).filter(({ blob }) => blob !== 'empty/')
  expect(restored.map(({ blob }) => blob).sort()).toEqual([...names].sort())
  for (const { blob, path } of restored) expect(readFileSync(join(target, path), 'utf8')).toBe(`content of ${blob}`)
  expect(files(target)).toHaveLength(names.length)
})

test('a directory goes in and comes back, alone or among others, from a snapshot that is chosen', async () => {
  const directory = scratch()
  const store = join(directory, 'store')
  await persistSnapshot(store, { blobs: { 'site/index.html': 'one', 'site/css/a.css': 'two', other: 'three' } })
  await persistSnapshot(store, { blobs: { 'site/index.html': 'changed' } })
  await done(['restore', 'site/', '-o', join(directory, 'old'), '--at', 'current~1', '-s', store])
  expect(files(join(directory, 'old'))).toEqual(['site/css/a.css', 'site/index.html'])
  expect(readFileSync(join(directory, 'old/site/index.html'), 'utf8')).toBe('one')
  const again = ['restore', '-o', join(directory, 'old'), '-s', store, '--json']
  expect(await holdfast(again)).toMatchObject({ exit: 15, failure: { code: 'TARGET_EXISTS' } })
  expect(files(join(directory, 'old'))).toHaveLength(2)
  const unknown = await holdfast(['restore', 'nope', '-o', join(directory, 'new'), '-s', store, '--json'])
  expect(unknown).toMatchObject({ exit: 15, failure: { code: 'BLOB_NOT_FOUND' } })
  const inside = await holdfast(['restore', '-o', join(store, 'packs/x'), '-s', store, '--json'])
  expect(inside).toMatchObject({ exit: 2, failure: { code: 'USAGE' } })
  symlinkSync(join(store, 'packs'), join(directory, 'link'))
  for (const out of ['link', 'link/x', 'store']) {
    const ran = await holdfast(['restore', '-o', join(directory, out), '-s', store, '--json'])
    expect(ran, out).toMatchObject({ exit: 2, failure: { code: 'USAGE' } })
  }
  expect(readdirSync(directory).sort()).toEqual(['link', 'old', 'store'])
})

/** A file as usearch writes it: three vectors of 8 bytes, the second node with a level above. */
function usearchFile(rows: number): Buffer {
  const u32 = (...values: number[]) => Buffer.from(Uint32Array.from(values).buffer)
  const head = Buffer.alloc(64)
  head.write('usearch')
  head.writeUInt16LE(2, 7)
  const graph = Buffer.alloc(40)
  for (const [at, value] of [
    [0, rows],
    [8, 2],
    [16, 4],
  ]) {
    graph.writeBigUInt64LE(BigInt(value!), at!)
  }
  const levels = Array.from({ length: rows }, (_, n) => (n === 1 ? 1 : 0))
  const nodes = levels.map((level, n) => {
    const key = Buffer.alloc(10)
    key.writeBigUInt64LE(BigInt(n))
    key.writeInt16LE(level, 8)
    return Buffer.concat([key, Buffer.alloc(4 + 4 * 4, n + 1), Buffer.alloc(level * (4 + 4 * 2), 0xee)])
  })
  const vectors = Buffer.from(Array.from({ length: rows * 8 }, (_, n) => n))
  return Buffer.concat([
    u32(rows, rows === 0 ? 0 : 8),
    vectors,
    head,
    graph,
    Buffer.from(Int16Array.from(levels).buffer),
    ...nodes,
  ])
}

test('the file of an engine is put together of its columns, without the engine', async () => {
  const directory = scratch()
  const store = join(directory, 'store')
  class Index implements UsearchLike {
    rows = 0
    save(path: string): void {
      writeFileSync(path, usearchFile(this.rows))
    }
    load(): void {}
    dimensions(): number {
      return 2
    }
  }
  const index = new Index()
  index.rows = 3
  await persistEngine(store, usearch(Index, { dimensions: 2 }), index)
  await using opened = await openStore(store)
  await using snapshot = await opened.load()
  expect(snapshot!.names).toContain('engine/upper')
  const target = join(directory, 'index.usearch')
  const restore = ['restore', '--engine', '-o', target, '-s', store, '--json']
  const { document } = await done(restore)
  expect(readFileSync(target)).toEqual(usearchFile(3))
  expect(document).toMatchObject({ file: target, bytes: usearchFile(3).length, engine: { name: 'usearch', layout: 2 } })
  expect(await holdfast(restore)).toMatchObject({ exit: 15, failure: { code: 'TARGET_EXISTS' } })
  await done([...restore, '--overwrite'])
})

test('a snapshot without an engine has no engine’s file', async () => {
  const directory = scratch()
  await persistSnapshot(join(directory, 'store'), { blobs: { a: 'x' } })
  const { exit, failure } = await holdfast([
    'restore',
    '--engine',
    '-o',
    join(directory, 'out'),
    '-s',
    join(directory, 'store'),
    '--json',
  ])
  expect([exit, failure.code]).toEqual([15, 'ENGINE_MISMATCH'])
  expect(existsSync(join(directory, 'out'))).toBe(false)
})

type Usearch = {
  Index: new (options: object) => UsearchLike & { add(key: bigint, vector: Float32Array, threads: number): void }
}
const native = nativeEngine<Usearch>('usearch')
if (native === null) skipVisibly('the file of usearch itself', '`npm run engines` first')
else {
  test('usearch reads its file again', async () => {
    const directory = scratch()
    const store = join(directory, 'store')
    const options = { dimensions: 8, metric: 'l2sq' }
    const index = new native.Index(options)
    for (let n = 0; n < 500; n++) index.add(BigInt(n), Float32Array.from(vector(n, 8)), 1)
    await persistEngine(store, usearch(native.Index, options), index)
    await done(['restore', '--engine', '-o', join(directory, 'index'), '-s', store])
    index.save(join(directory, 'saved'))
    expect(readFileSync(join(directory, 'index'))).toEqual(readFileSync(join(directory, 'saved')))
  })
}

interface Hnswlib {
  HierarchicalNSW: new (
    space: string,
    dim: number,
  ) => HnswlibLike & { initIndex(options: object): void; addPoint(point: number[], label: number): void }
}
const hnsw = nativeEngine<Hnswlib>('hnswlib-node')
if (hnsw === null) skipVisibly('the file of hnswlib itself', '`npm run engines` first')
else {
  test('hnswlib reads its file again, and its capacity is in the document', async () => {
    const directory = scratch()
    const store = join(directory, 'store')
    const index = new hnsw.HierarchicalNSW('l2', 8)
    index.initIndex({ maxElements: 700 })
    for (let n = 0; n < 500; n++) index.addPoint(vector(n, 8), n)
    await persistEngine(store, hnswlib(hnsw.HierarchicalNSW, { space: 'l2', dim: 8 }), index)
    const { document } = await done(['restore', '--engine', '-o', join(directory, 'index'), '-s', store, '--json'])
    expect(document.engine.state.maxElements).toBe(700)
    const again = new hnsw.HierarchicalNSW('l2', 8)
    await again.readIndex(join(directory, 'index'))
    expect(again.getCurrentCount()).toBe(500)
  })
}
