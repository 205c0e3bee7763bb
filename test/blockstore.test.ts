// Public packages walk the blocks of a store by its CIDs.

import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as dagCbor from '@ipld/dag-cbor'
import type { Blockstore } from 'interface-blockstore'
import { GetFailedError, HasFailedError, NotFoundError } from 'interface-store'
import { createUnsafe } from 'multiformats/block'
import { CID } from 'multiformats/cid'
import * as raw from 'multiformats/codecs/raw'
import { create as multihash } from 'multiformats/hashes/digest'
import { walk } from 'multiformats/traversal'
import { expect, test } from 'vitest'
import { asBlockstore } from '../src/blockstore.ts'
import { blake3 } from '../src/format/blake3.ts'
import { fixed, memory, openStore, type Store } from '../src/index.ts'
import { collect, noise, sameBytes } from './support/bytes.ts'
import { failure } from './support/rejects.ts'
import { quickScratch } from './support/scratch.ts'
import { kinds } from './support/storages.ts'

type ReadHalf = Pick<Blockstore, 'get' | 'has' | 'getMany'>

/** The bytes of a blob by nothing but its CID: a chunk, or a node `[[length, link], …]`. */
async function blobAt(blocks: ReadHalf, cid: CID): Promise<Uint8Array> {
  const bytes = await collect(toAsync(blocks.get(cid)))
  if (cid.code === raw.code) return bytes
  const children = dagCbor.decode<[number, CID][]>(bytes)
  const parts: Uint8Array[] = []
  for (const [length, child] of children) {
    const part = await blobAt(blocks, child)
    expect(part.length).toBe(length)
    parts.push(part)
  }
  return Buffer.concat(parts)
}

async function* toAsync(parts: Iterable<Uint8Array> | AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  yield* parts
}

/** Not of a holdfast's store. */
const absent = CID.createV1(raw.code, multihash(0x1e, blake3(Buffer.from('nobody has this'))))

test.each(kinds)('a blob is walked from its CID in a store in $name', async (kind) => {
  const store = await kind.open()
  const bytes = noise(1_500_000, 1)
  const { blobs, manifest } = await store.persist({ blobs: { a: { source: bytes, chunking: fixed(2048) }, b: 'text' } })
  // The interface itself takes it.
  const blocks: ReadHalf = asBlockstore(store)
  const [a, b] = ['a', 'b'].map((name) => CID.parse(blobs[name]!.cid))
  expect(sameBytes(await blobAt(blocks, a!), bytes)).toBe(true)
  expect(Buffer.from(await blobAt(blocks, b!)).toString()).toBe('text')

  const visited: string[] = []
  await walk({
    cid: CID.parse(manifest),
    async load(cid) {
      visited.push(cid.toString())
      const codec = cid.code === raw.code ? raw : dagCbor
      return createUnsafe({ bytes: await collect(toAsync(blocks.get(cid))), cid, codec: codec as typeof raw })
    },
  })
  expect(visited).toContain(a!.toString())
  expect(visited.length).toBeGreaterThan(700)

  expect(await blocks.has(a!)).toBe(true)
  expect(await blocks.has(absent)).toBe(false)
  const many: string[] = []
  for await (const { cid, bytes } of blocks.getMany([b!, a!])) {
    many.push(cid.toString())
    expect((await collect(toAsync(bytes))).length).toBeGreaterThan(0)
  }
  expect(many).toEqual([b!.toString(), a!.toString()])
})

async function failed(promise: PromiseLike<unknown>): Promise<{ name: string; code: string; cause?: unknown }> {
  return (await failure(promise)) as { name: string; code: string }
}

test('errors have the names and codes of the interface', async () => {
  const path = join(quickScratch(), 'store')
  const store: Store = await openStore(path)
  const blocks = asBlockstore(store)
  const get = (cid: CID, signal?: AbortSignal) => collect(blocks.get(cid, { signal }))
  expect(await failed(get(absent))).toMatchObject({ name: NotFoundError.name, code: NotFoundError.code })

  const { blobs } = await store.persist({ blobs: { a: noise(5000, 1) } })
  const cid = CID.parse(blobs.a!.cid)
  expect(await failed(get(absent))).toMatchObject({ name: NotFoundError.name, code: NotFoundError.code })
  const sha256 = CID.createV1(raw.code, multihash(0x12, new Uint8Array(32)))
  expect(await failed(get(sha256))).toMatchObject({ name: NotFoundError.name })
  const reason = new Error('enough')
  expect(await failure(get(cid, AbortSignal.abort(reason)))).toBe(reason)
  expect(await failure(blocks.has(cid, { signal: AbortSignal.abort(reason) }))).toBe(reason)

  const pack = join(path, 'packs', readdirSync(join(path, 'packs'))[0]!)
  const bytes = readFileSync(pack)
  bytes[1000]! ^= 1
  writeFileSync(pack, bytes)
  const damaged = await failed(get(cid))
  expect(damaged).toMatchObject({ name: GetFailedError.name, code: GetFailedError.code })
  expect(damaged.cause).toMatchObject({ code: 'SNAPSHOT_DAMAGED' })

  await store.close()
  expect(await failed(get(cid))).toMatchObject({ name: GetFailedError.name, cause: { code: 'STORE_CLOSED' } })
  expect(await failed(blocks.has(cid))).toMatchObject({ name: HasFailedError.name, code: HasFailedError.code })
  expect(() => asBlockstore({} as never)).toThrow(TypeError)
})

test('what a writer commits meanwhile is found, and what it moves stays', async () => {
  await using store = memory({ keepLast: 1 })
  const blocks = asBlockstore(store)
  const first = await store.persist({ blobs: { a: noise(100_000, 1), b: noise(100_000, 2) } })
  const kept = CID.parse(first.blobs.a!.cid)
  for (let n = 0; n < 20; n++) {
    const { blobs } = await store.persist({ blobs: { a: noise(100_000, 1), b: noise(100_000, n + 3) } })
    expect(await blocks.has(CID.parse(blobs.b!.cid))).toBe(true)
    expect(sameBytes(await blobAt(blocks, kept), noise(100_000, 1))).toBe(true)
  }
  await store.gc({ complete: true })
  expect(await blocks.has(CID.parse(first.blobs.b!.cid))).toBe(false)
})
