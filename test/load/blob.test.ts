import {
  chmodSync,
  closeSync,
  linkSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { content, fixed, type OnProgress, type Snapshot, type Store } from '../../src/index.ts'
import { collect, noise, sameBytes } from '../support/bytes.ts'
import { sample, share } from '../support/effort.ts'
import { createRandom } from '../support/random.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { type Kind, kinds } from '../support/storages.ts'
import { files } from '../support/tree.ts'

const MIB = 1024 * 1024
const large = noise(9 * MIB, 1)

async function withBlob(
  open: Kind['open'],
  bytes: Uint8Array | string,
  chunking = content(),
): Promise<{ store: Store; snapshot: Snapshot; blob: ReturnType<Snapshot['blob']> }> {
  const store = await open()
  await store.persist({ blobs: { a: bytes }, chunking })
  const snapshot = (await store.load())!
  return { store, snapshot, blob: snapshot.blob('a') }
}

describe.each(kinds)('a blob of a $name store', ({ open }) => {
  describe('as a stream', () => {
    test('gives any range around chunks', async () => {
      for (const [chunking, length, positions] of [
        [fixed(512), 5000, [0, 1, 511, 512, 513, 1024, 4607, 4608, 4609, 4999, 5000, 5001, 9999]],
        [content({ averageBytes: 4096 }), 70_000, [0, 1, 1024, 4096, 16_384, 33_333, 69_999, 70_000, 2 ** 40]],
        [content(), 10, [0, 1, 5, 9, 10, 11]],
        [content(), 0, [0, 1]],
      ] as const) {
        const bytes = noise(length, 1)
        const { blob } = await withBlob(open, bytes, chunking)
        for (const start of positions) {
          for (const end of sample(`ends of ranges from ${start}`, positions, 3)) {
            const range = await collect(blob.stream({ start, end }))
            expect(sameBytes(range, bytes.subarray(start, Math.max(start, end))), `${start} to ${end}`).toBe(true)
          }
          expect(sameBytes(await collect(blob.stream({ start })), bytes.subarray(start)), `from ${start}`).toBe(true)
          expect(sameBytes(await collect(blob.stream({ end: start })), bytes.subarray(0, start)), `to ${start}`).toBe(
            true,
          )
        }
      }
    })

    test('gives any range around segments and groups of reads', async () => {
      const bytes = noise(9 * MIB + 11, 1)
      const { blob } = await withBlob(open, bytes)
      const r = createRandom(2)
      const borders = [0, 2 * MIB, 4 * MIB, 6 * MIB, 8 * MIB, bytes.length]
      const ranges = share(40, 12)
      for (let i = 0; i < ranges; i++) {
        const near = (): number => Math.max(0, r.pick(borders) + r.below(5) - 2)
        const [start, end] = [near(), i % 2 === 0 ? near() : r.below(bytes.length)]
        const range = await collect(blob.stream({ start, end }))
        expect(sameBytes(range, bytes.subarray(start, Math.max(start, end))), `${start} to ${end}`).toBe(true)
      }
    })

    test('comes in parts of bounded size, which are the caller’s to keep and to change', async () => {
      const { blob } = await withBlob(open, large)
      const parts: Uint8Array[] = []
      for await (const part of blob.stream()) {
        expect(part.length).toBeLessThanOrEqual(4 * MIB)
        parts.push(part)
      }
      expect(parts.length).toBeGreaterThan(2)
      expect(sameBytes(Buffer.concat(parts), large)).toBe(true)
      for (const part of parts) part.fill(0)
      expect(sameBytes(await collect(blob.stream()), large)).toBe(true)
    })

    test('may be left half-read, and the snapshot disposed at once', async () => {
      const { snapshot, blob } = await withBlob(open, large)
      for await (const part of blob.stream()) {
        expect(part.length).toBeGreaterThan(0)
        break
      }
      const left = blob.stream()
      await left.next()
      await snapshot.dispose()
      await rejects(left.next(), 'SNAPSHOT_DISPOSED')
    })

    test.each([
      { start: -1 },
      { end: -1 },
      { start: 0.5 },
      { end: 1.5 },
      { start: Number.NaN },
      { end: Number.NaN },
      { start: '1' as unknown as number },
    ])('refuses positions that are none: %o', async (range) => {
      const { blob } = await withBlob(open, 'text')
      expect(await failure(collect(blob.stream(range)))).toBeInstanceOf(RangeError)
    })
  })

  test('as bytes is a new buffer each time', async () => {
    const bytes = noise(100_000, 1)
    const { blob } = await withBlob(open, bytes)
    const first = await blob.bytes()
    expect(first.byteOffset).toBe(0)
    expect(first.buffer.byteLength).toBe(bytes.length)
    first.fill(0)
    expect(sameBytes(await blob.bytes(), bytes)).toBe(true)
  })

  test('as text is exactly the text, byte-order mark and all, and refuses what is not UTF-8', async () => {
    const text = '\ufeffa🦑\0\u2028'
    const { store, blob } = await withBlob(open, text)
    expect(await blob.text()).toBe(text)
    for (const wrong of [[0xff], [0xed, 0xa0, 0x80], [0xc0, 0x80], [0xe2, 0x82]]) {
      await store.persist({ blobs: { a: Uint8Array.from(wrong) } })
      expect(await failure((await store.load())!.blob('a').text())).toBeInstanceOf(TypeError)
    }
  })

  test('as JSON is parsed', async () => {
    const value = { a: [1, 'ü', null], __proto: {} }
    const { store, blob } = await withBlob(open, JSON.stringify(value))
    expect(await blob.json<typeof value>()).toEqual(value)
    await store.persist({ blobs: { a: '{' } })
    const error = await failure((await store.load())!.blob('a').json())
    expect(error).toBeInstanceOf(SyntaxError)
    expect((error as Error).message).toMatch(/blob "a" of snapshot .* is not JSON/)
  })

  test('says what it is', async () => {
    const store = await open()
    const saved = await store.persist({
      blobs: { a: { source: 'text', chunking: fixed(4096), type: 'text/plain' }, b: 'other' },
    })
    const snapshot = (await store.load())!
    expect({ ...snapshot.blob('a') }).toMatchObject({
      name: 'a',
      cid: saved.blobs.a!.cid,
      size: 4,
      type: 'text/plain',
      chunking: { kind: 'fixed', size: 4096 },
    })
    expect(snapshot.blob('b')).not.toHaveProperty('type')
    expect(snapshot.has('a')).toBe(true)
    expect(snapshot.has('c')).toBe(false)
    expect(() => snapshot.blob('c')).toThrow(/"c".*"a", "b"/)
    expect(() => snapshot.blob('c')).toThrow(expect.objectContaining({ code: 'BLOB_NOT_FOUND' }))
  })

  describe('written to a path', () => {
    test('makes a private file, of a relative, absolute or URL path', async () => {
      const bytes = noise(5 * MIB, 1)
      const { blob } = await withBlob(open, bytes)
      const directory = scratch()
      await blob.writeTo(join(directory, 'x'))
      await blob.writeTo(pathToFileURL(join(directory, 'y z')))
      for (const name of ['x', 'y z']) {
        expect(sameBytes(readFileSync(join(directory, name)), bytes)).toBe(true)
        expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600)
      }
      expect(readdirSync(directory).sort()).toEqual(['x', 'y z'])
    })

    test('replaces a file as a whole, keeping its mode', async () => {
      const { blob } = await withBlob(open, 'new')
      const path = join(scratch(), 'x')
      writeFileSync(path, 'old content')
      chmodSync(path, 0o640)
      linkSync(path, `${path}.link`)
      const held = openSync(path, 'r')
      await blob.writeTo(path)
      expect(readFileSync(path, 'utf8')).toBe('new')
      expect(statSync(path).mode & 0o777).toBe(0o640)
      // Whoever has the old file, has all of it.
      expect(readFileSync(`${path}.link`, 'utf8')).toBe('old content')
      const seen = Buffer.alloc(20)
      expect(seen.subarray(0, readSync(held, seen)).toString()).toBe('old content')
      closeSync(held)
      expect(readdirSync(join(path, '..')).sort()).toEqual(['x', 'x.link'])
    })

    test('leaves the old file and nothing else when it is aborted or fails', async () => {
      const { blob } = await withBlob(open, large)
      const path = join(scratch(), 'x')
      writeFileSync(path, 'old')
      const controller = new AbortController()
      const reason = new Error('enough')
      const onProgress: OnProgress = () => controller.abort(reason)
      expect(await failure(blob.writeTo(path, { signal: controller.signal, onProgress }))).toBe(reason)
      expect(readFileSync(path, 'utf8')).toBe('old')
      const thrower = (): void => {
        throw reason
      }
      expect(await failure(blob.writeTo(path, { onProgress: thrower }))).toBe(reason)
      expect(readdirSync(join(path, '..'))).toEqual(['x'])
      const error = await rejects(blob.writeTo(join(path, '..', 'no', 'x')), 'IO_FAILED')
      expect(error.details.code).toBe('ENOENT')
      await rejects(blob.writeTo(join(path, 'below a file')), 'IO_FAILED')
      expect(await failure(blob.writeTo(''))).toBeInstanceOf(TypeError)
      expect(await failure(blob.writeTo(new URL('https://example.org')))).toBeInstanceOf(TypeError)
      expect(readdirSync(join(path, '..'))).toEqual(['x'])
    })
  })

  describe('as a file', () => {
    test('is a read-only path with its bytes, named by content', async () => {
      const bytes = noise(5 * MIB, 1)
      const { blob } = await withBlob(open, bytes)
      const path = await blob.file()
      expect(sameBytes(readFileSync(path), bytes)).toBe(true)
      expect(statSync(path).mode & 0o222).toBe(0)
      expect(path.endsWith(blob.cid)).toBe(true)
    })

    test('is made once: other calls, other names and later snapshots get the same one', async () => {
      const store = await open()
      await store.persist({ blobs: { a: 'text', b: 'text', c: '' } })
      const first = (await store.load())!
      const path = await first.blob('a').file()
      const { ino, mtimeMs } = statSync(path)
      const calls = [first.blob('a').file(), first.blob('a').file(), first.blob('b').file()]
      expect(await Promise.all(calls)).toEqual([path, path, path])
      await store.persist({ blobs: { z: 'text', c: 'changed' } })
      const second = (await store.load())!
      expect(await second.blob('z').file()).toBe(path)
      await first.dispose()
      expect(await second.blob('z').file()).toBe(path)
      expect(statSync(path)).toMatchObject({ ino, mtimeMs })
      expect(readFileSync(await second.blob('c').file(), 'utf8')).toBe('changed')
    })

    test('of no bytes is an empty file', async () => {
      const { blob } = await withBlob(open, '')
      expect(readFileSync(await blob.file())).toHaveLength(0)
    })

    test('is made by one of many who want it at once', async () => {
      const { store } = await withBlob(open, noise(3 * MIB, 1))
      const snapshots = await Promise.all(Array.from({ length: 8 }, () => store.load()))
      const paths = await Promise.all(snapshots.map((snapshot) => snapshot!.blob('a').file()))
      expect(new Set(paths).size).toBe(1)
      expect(sameBytes(readFileSync(paths[0]!), noise(3 * MIB, 1))).toBe(true)
    })

    test.each<[string, (path: string) => void]>([
      ['a byte is changed', (path) => overwrite(path, (bytes) => bytes.fill(1, 4 * MIB, 4 * MIB + 1))],
      ['the last byte is changed', (path) => overwrite(path, (bytes) => bytes.fill(1, bytes.length - 1))],
      ['it is cut short', (path) => overwrite(path, (bytes) => bytes.subarray(0, -1))],
      ['it is longer', (path) => overwrite(path, (bytes) => Buffer.concat([bytes, bytes]))],
      ['it is empty', (path) => overwrite(path, () => Buffer.alloc(0))],
    ])('is made anew when %s, and the damaged one is kept as evidence', async (_, damage) => {
      const bytes = noise(5 * MIB, 1)
      const { store, snapshot, blob } = await withBlob(open, bytes)
      const path = await blob.file()
      await snapshot.dispose()
      damage(path)
      const damaged = readFileSync(path)
      const again = (await store.load())!
      expect(await again.blob('a').file()).toBe(path)
      expect(sameBytes(readFileSync(path), bytes)).toBe(true)
      expect(statSync(path).mode & 0o222).toBe(0)
      const quarantine = join(path, '..', '..', 'quarantine')
      const [evidence, note, ...rest] = files(quarantine)
      expect(rest).toEqual([])
      expect(sameBytes(readFileSync(join(quarantine, evidence!)), damaged)).toBe(true)
      expect(note).toBe(`${evidence}.json`)
      expect(JSON.parse(readFileSync(join(quarantine, note!), 'utf8'))).toMatchObject({ reason: 'not-the-blob' })
    })
  })

  test('tells its progress, which only grows and ends with its size', async () => {
    const { blob } = await withBlob(open, noise(9 * MIB + 5, 1))
    for (const read of [
      (onProgress: OnProgress) => blob.bytes({ onProgress }),
      (onProgress: OnProgress) => collect(blob.stream({ onProgress })),
      (onProgress: OnProgress) => blob.writeTo(join(scratch(), 'x'), { onProgress }),
      (onProgress: OnProgress) => blob.file({ onProgress }),
    ]) {
      const seen: number[] = []
      await read((progress) => {
        expect(progress).toMatchObject({ phase: 'loading', blob: 'a', totalBytes: blob.size })
        if (progress.phase === 'loading') seen.push(progress.bytes)
      })
      expect(seen.length).toBeGreaterThan(1)
      expect(seen).toEqual(seen.toSorted((a, b) => a - b))
      expect(seen.at(-1)).toBe(blob.size)
    }
  })

  test('is read by many at once', async () => {
    const bytes = noise(5 * MIB, 1)
    const { blob } = await withBlob(open, bytes)
    const reads = Array.from({ length: 12 }, (_, i) => (i % 2 === 0 ? blob.bytes() : collect(blob.stream())))
    for (const read of await Promise.all(reads)) expect(sameBytes(read, bytes)).toBe(true)
  })

  test('cannot be read once its snapshot is disposed', async () => {
    const { snapshot, blob } = await withBlob(open, 'text')
    const { name, size, cid } = blob
    await blob.file()
    await snapshot.dispose()
    await snapshot.dispose()
    for (const read of [
      () => blob.bytes(),
      () => blob.text(),
      () => blob.json(),
      () => collect(blob.stream()),
      () => blob.file(),
      () => blob.writeTo(join(scratch(), 'x')),
    ]) {
      const error = await rejects(read(), 'SNAPSHOT_DISPOSED')
      expect(error.details).toEqual({ sequence: 1 })
    }
    expect({ name, size, cid }).toEqual({ name: blob.name, size: blob.size, cid: blob.cid })
  })

  test('that is being read keeps its snapshot until the read is done', async () => {
    const { snapshot, blob } = await withBlob(open, large)
    const read = blob.bytes()
    const disposed = snapshot.dispose()
    expect(sameBytes(await read, large)).toBe(true)
    await disposed
    await rejects(blob.bytes(), 'SNAPSHOT_DISPOSED')
  })

  test('as a file for one who gives up does not fail for another who waits', async () => {
    const { blob } = await withBlob(open, large)
    const controller = new AbortController()
    const reason = new Error('enough')
    const first = failure(blob.file({ signal: controller.signal, onProgress: () => controller.abort(reason) }))
    const second = blob.file()
    expect(await first).toBe(reason)
    expect(sameBytes(readFileSync(await second), large)).toBe(true)
    expect(await failure(blob.file({ signal: controller.signal }))).toBe(reason)
  })

  test('of a snapshot in an `await using` block cannot be read after it', async () => {
    const { store } = await withBlob(open, 'text')
    let kept: ReturnType<Snapshot['blob']>
    {
      await using snapshot = (await store.load())!
      kept = snapshot.blob('a')
      expect(await kept.text()).toBe('text')
    }
    await rejects(kept.text(), 'SNAPSHOT_DISPOSED')
  })
})

function overwrite(path: string, change: (bytes: Buffer) => Uint8Array): void {
  chmodSync(path, 0o600)
  writeFileSync(path, change(readFileSync(path)))
}
