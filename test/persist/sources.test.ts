import { execFileSync } from 'node:child_process'
import {
  appendFileSync,
  createReadStream,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import { describe, expect, test, vi } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { type BlobInput, fixed, type HoldfastError, memory, type OnProgress, openStore } from '../../src/index.ts'
import type { PersistOptions } from '../../src/persist/options.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { collect, noise, sameBytes, split } from '../support/bytes.ts'
import { sample } from '../support/effort.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { kinds } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'
import { files } from '../support/tree.ts'

const text = 'plain, ümläut, 漢字, 🦑𝒳, \ufeff and a zero \0'.repeat(9000)
const bytes = new Uint8Array(Buffer.from(text))

const reference = memory()
  .persist({ blobs: { a: bytes } })
  .then(({ blobs }) => blobs.a!)

/** Each way to give the same bytes. */
const sources: Record<string, (directory: string) => BlobInput> = {
  'a Uint8Array': () => bytes,
  'a slice of a larger buffer': () => new Uint8Array(Buffer.concat([noise(7, 1), bytes, noise(9, 2)])).subarray(7, -9),
  'a Buffer': () => Buffer.from(bytes),
  'an ArrayBuffer': () => bytes.slice().buffer,
  'a view of shared memory': () => {
    const shared = new Uint8Array(new SharedArrayBuffer(bytes.length))
    shared.set(bytes)
    return shared
  },
  'a string': () => text,
  'a Blob': () => new Blob([bytes.slice(0, 1000), bytes.slice(1000)]),
  'an array of parts': () => [bytes.subarray(0, 5), new Uint8Array(), bytes.subarray(5)],
  'a generator': () => split(bytes, [1, 70_000, 70_000]),
  'an async generator': () => parts(),
  'a Node stream': () => Readable.from([bytes.slice(0, 9), bytes.slice(9)]),
  'a file stream': (directory) => createReadStream(fileIn(directory), { highWaterMark: 1000 }),
  'a web stream': () => Readable.toWeb(Readable.from(parts())) as ReadableStream<Uint8Array>,
  'a file': (directory) => ({ file: fileIn(directory) }),
  'a file by URL': (directory) => ({ file: pathToFileURL(fileIn(directory)) }),
  'a function that saves into a path': () => (path) => writeFileSync(path, bytes),
  'a function that saves and answers true later': () => async (path) => {
    await writeFile(path, bytes)
    return true
  },
  'a source with options': () => ({ source: parts() }),
  'a saving function with options': () => ({ source: (path) => writeFile(path, bytes) }),
  'a file with options': (directory) => ({ source: { file: fileIn(directory) } }),
}

async function* parts(): AsyncGenerator<Uint8Array> {
  for (const part of split(bytes, [3, 4, 100_001])) yield part
}

function fileIn(directory: string): string {
  const path = join(directory, 'source')
  writeFileSync(path, bytes)
  return path
}

describe.each(kinds)('in a $name store', ({ name, open }) => {
  // How a source is read does not depend on the storage: a quick run tries each in one, and some in the others.
  const all = Object.entries(sources)
  const tried = name === kinds[0]!.name ? all : sample(`sources in ${name}`, all, 5)

  test.each(tried)('%s is kept like the same bytes from anywhere else', async (_, make) => {
    const store = await open()
    const saved = await store.persist({ blobs: { a: make(scratch()) } })
    expect(saved.blobs.a).toEqual(await reference)
    const blob = (await store.load())!.blob('a')
    expect(sameBytes(await blob.bytes(), bytes)).toBe(true)
    expect(await blob.text()).toBe(text)
  })

  test('a long string is kept whole, wherever its astral characters fall', async () => {
    const store = await open()
    for (const long of ['🦑'.repeat(300_000), `x${'🦑'.repeat(300_000)}`, `${'漢'.repeat(262_143)}🦑`]) {
      const saved = await store.persist({ blobs: { a: long } })
      expect(saved.blobs.a!.size).toBe(Buffer.byteLength(long))
      expect((await (await store.load())!.blob('a').text()) === long).toBe(true)
    }
  })

  test('an empty source of any kind is an empty blob', async () => {
    const store = await open()
    const empty = join(scratch(), 'empty')
    writeFileSync(empty, '')
    const blobs: Record<string, BlobInput> = {
      bytes: new Uint8Array(),
      text: '',
      parts: [],
      'empty parts': [new Uint8Array(), new Uint8Array()],
      blob: new Blob([]),
      file: { file: empty },
      saved: (path) => writeFileSync(path, ''),
    }
    const saved = await store.persist({ blobs })
    expect(new Set(Object.values(saved.blobs).map(({ cid }) => cid)).size).toBe(1)
    const snapshot = await store.load()
    for (const name of Object.keys(blobs)) {
      expect(snapshot!.blob(name).size).toBe(0)
      expect(await snapshot!.blob(name).bytes()).toEqual(new Uint8Array())
      expect(await snapshot!.blob(name).text()).toBe('')
      expect(await collect(snapshot!.blob(name).stream())).toHaveLength(0)
    }
  })

  test('what a source is changed to afterwards does not reach the store', async () => {
    const store = await open()
    const given = bytes.slice()
    await store.persist({ blobs: { a: given } })
    given.fill(0)
    expect(sameBytes(await (await store.load())!.blob('a').bytes(), bytes)).toBe(true)
  })

  test('a buffer that is changed while it is read gives a snapshot that agrees with itself', async () => {
    const store = await open()
    const given = noise(12 * 1024 * 1024, 1)
    let changes = 0
    const saved = await store.persist({
      blobs: { a: given },
      onProgress({ phase }) {
        if (phase === 'reading') given.fill(++changes)
      },
    })
    expect(changes).toBeGreaterThan(1)
    // Which of its states were read is nobody's promise; that they were read once is.
    const snapshot = await store.load()
    const loaded = await snapshot!.blob('a').bytes()
    const copy = await memory().persist({ blobs: { a: loaded } })
    expect(saved.blobs).toEqual(copy.blobs)
  })

  test('a directory becomes one blob for each file in it, and comes back as a directory', async () => {
    const store = await open()
    const root = nested(scratch())
    await store.persist({ blobs: { index: { directory: root }, other: 'x' } })
    const snapshot = await store.load()
    expect(snapshot!.names).toEqual(
      expect.arrayContaining([
        'index/a',
        'index/deep/er/b',
        'index/deep/c.bin',
        'index/empty/',
        'index/ünï 漢',
        'other',
      ]),
    )
    expect(snapshot!.names).toHaveLength(6)
    const directory = snapshot!.directory('index')
    expect([...directory.files.keys()].sort()).toEqual(['a', 'deep/c.bin', 'deep/er/b', 'ünï 漢'])
    expect(directory.emptyDirectories).toEqual(['empty'])
    expect(await directory.files.get('a')!.text()).toBe('A')

    const target = join(scratch(), 'new', 'copy')
    await directory.writeTo(target)
    expect(files(target)).toEqual(files(root))
    expect(readdirSync(join(target, 'empty'))).toEqual([])
    for (const file of files(root)) expect(readFileSync(join(target, file))).toEqual(readFileSync(join(root, file)))
    expect(files(join(target, '..'))).toHaveLength(files(root).length)

    const again = await rejects(directory.writeTo(pathToFileURL(target)), 'TARGET_EXISTS')
    expect(again.details.path).toBe(target)
    expect(() => snapshot!.directory('other')).toThrow(expect.objectContaining({ code: 'BLOB_NOT_FOUND' }))
  })

  test('options of a directory hold for each of its files', async () => {
    const store = await open()
    await store.persist({
      blobs: { d: { directory: nested(scratch()), chunking: fixed(512), type: 'x/y' }, other: 'x' },
    })
    const snapshot = await store.load()
    for (const name of snapshot!.names.filter((n) => n !== 'other')) {
      expect(snapshot!.blob(name)).toMatchObject({ chunking: fixed(512), type: 'x/y' })
    }
    expect(snapshot!.blob('other').type).toBeUndefined()
    expect(snapshot!.blob('other').chunking).toEqual({ kind: 'content', average: 16_384 })
  })

  test('a directory with nothing in it, or only empty ones, comes back as one', async () => {
    const store = await open()
    const root = scratch()
    mkdirSync(join(root, 'only', 'b', 'c'), { recursive: true })
    mkdirSync(join(root, 'nothing'))
    for (const name of ['only', 'nothing']) {
      await store.persist({ blobs: { d: { directory: join(root, name) } } })
      const target = join(scratch(), 'copy')
      await (await store.load())!.directory('d').writeTo(target)
      expect(readdirSync(target, { recursive: true })).toEqual(name === 'only' ? ['b', 'b/c'] : [])
    }
  })

  test('blob names that lead out of a directory are not laid out', async () => {
    const store = await open()
    const outside = ['../x', 'a/../../x', '/x', 'a//x', './x', '..', 'a/', 'x\0y'.replace('\0', '/../')]
    for (const name of outside) {
      await store.persist({ blobs: { [`d/${name}`]: 'evil' } })
      const root = scratch()
      const directory = (await store.load())!.directory('d')
      await rejects(directory.writeTo(join(root, 'target')), 'BLOB_NAME_INVALID')
      expect(files(root)).toEqual([])
    }
  })
})

function nested(root: string): string {
  mkdirSync(join(root, 'deep', 'er'), { recursive: true })
  mkdirSync(join(root, 'empty'))
  writeFileSync(join(root, 'a'), 'A')
  writeFileSync(join(root, 'deep', 'c.bin'), noise(5000, 1))
  writeFileSync(join(root, 'deep', 'er', 'b'), '')
  writeFileSync(join(root, 'ünï 漢'), 'name')
  return root
}

describe('a source that fails', () => {
  /** Persists into a directory store that has a snapshot; gives the error when nothing but it came of it. */
  async function failing(
    blobs: PersistOptions['blobs'] | (() => PersistOptions['blobs']),
    options: Partial<PersistOptions> = {},
  ): Promise<unknown> {
    const path = join(scratch(), 'store')
    const store = await openStore(path)
    await store.persist({ blobs: { a: 'before' } })
    const before = files(path)
    const error = await failure(store.persist({ blobs: typeof blobs === 'function' ? blobs() : blobs, ...options }))
    expect(files(path)).toEqual(before)
    const snapshot = await store.load()
    expect(snapshot!.sequence).toBe(1)
    expect(await snapshot!.blob('a').text()).toBe('before')
    await store.close()
    return error
  }

  const reason = new Error('the reason')

  test.each<[string, BlobInput]>([
    ['throws', () => Promise.reject(reason)],
    [
      'throws at once',
      () => {
        throw reason
      },
    ],
    [
      'throws after it wrote',
      (path) => {
        writeFileSync(path, 'half')
        throw reason
      },
    ],
  ])('a saving function that %s', async (_, source) => {
    const error = await failing({ x: 'fine', a: source })
    expect(error).toMatchObject({ code: 'SOURCE_FAILED', details: { blob: 'a' }, cause: reason })
    expect((error as Error).message).toContain('the reason')
  })

  function saveAndFail(path: string): boolean {
    writeFileSync(path, 'half')
    return false
  }

  test.each<[string, BlobInput]>([
    ['answers false', saveAndFail],
    ['answers false later, like some engines', async (path) => saveAndFail(path)],
    ['writes nothing', () => undefined],
    ['makes a directory', (path) => mkdirSync(path)],
    ['writes beside its path', (path) => writeFileSync(`${path}.tmp`, 'x')],
    [
      'writes a link',
      (path) => {
        writeFileSync(`${path}.1`, 'x')
        symlinkSync(`${path}.1`, path)
      },
    ],
  ])('a saving function that %s', async (_, source) => {
    expect(await failing({ a: source })).toMatchObject({ code: 'SOURCE_FAILED', details: { blob: 'a' } })
  })

  test('a stream that fails half-way', async () => {
    async function* broken(): AsyncGenerator<Uint8Array> {
      yield noise(100_000, 1)
      throw reason
    }
    expect(await failing({ a: broken() })).toMatchObject({
      code: 'SOURCE_FAILED',
      details: { blob: 'a' },
      cause: reason,
    })
    const stream = new Readable({ read() {} })
    stream.push(noise(100_000, 1))
    const onProgress = (): void => void stream.destroy(reason)
    expect(await failing({ first: 'x', a: stream }, { onProgress })).toMatchObject({
      code: 'SOURCE_FAILED',
      cause: reason,
    })
  })

  test('a stream that fails before anybody reads it', async () => {
    // Without a listener for its error the process would end here.
    const missing = (): BlobInput => createReadStream(join(scratch(), 'nothing'))
    const error = await failing(() => ({ a: missing() }))
    expect(error).toMatchObject({ code: 'SOURCE_FAILED', details: { blob: 'a' }, cause: { code: 'ENOENT' } })
    const inner = await failing(() => ({ a: { source: missing() as Readable } }))
    expect(inner).toMatchObject({ code: 'SOURCE_FAILED', cause: { code: 'ENOENT' } })
  })

  test('a stream of text, which has no bytes yet', async () => {
    const error = await failing({ a: Readable.from(['text']) as AsyncIterable<Uint8Array> })
    expect(error).toBeInstanceOf(TypeError)
    expect((error as Error).message).toMatch(/"a".*string/)
  })

  test('a file that is not there, not a file, or not to be read', async () => {
    const directory = scratch()
    expect(await failing({ a: { file: join(directory, 'nothing') } })).toMatchObject({
      code: 'IO_FAILED',
      details: { code: 'ENOENT', path: join(directory, 'nothing') },
    })
    expect(await failing({ a: { file: directory } })).toMatchObject({ code: 'SOURCE_FAILED' })
    expect(await failing({ a: { directory: join(directory, 'nothing') } })).toMatchObject({ code: 'IO_FAILED' })
  })

  test.skipIf(process.platform === 'win32')('a FIFO, which nobody may ever write to', async () => {
    const fifo = join(scratch(), 'fifo')
    execFileSync('mkfifo', [fifo])
    expect(await failing({ a: { file: fifo } })).toMatchObject({ code: 'SOURCE_FAILED', details: { blob: 'a' } })
  })

  test('a directory with something in it that is not a file', async () => {
    const directory = scratch()
    writeFileSync(join(directory, 'fine'), 'x')
    symlinkSync('fine', join(directory, 'link'))
    expect(await failing({ a: { directory } })).toMatchObject({
      code: 'SOURCE_FAILED',
      details: { blob: 'a', path: join(directory, 'link') },
    })
  })

  test.each<[string, (path: string) => void]>([
    ['grows', (path) => appendFileSync(path, 'more')],
    ['shrinks', (path) => truncateSync(path, 10)],
    ['is touched', (path) => utimesSync(path, new Date(), new Date(1))],
    ['is overwritten in place', (path) => writeFileSync(path, noise(20_000, 2))],
    [
      'is replaced',
      (path) => {
        writeFileSync(`${path}.new`, noise(20_000, 1))
        renameSync(`${path}.new`, path)
      },
    ],
    ['is moved away', (path) => renameSync(path, `${path}.old`)],
  ])('a file that %s while it is read', async (_, change) => {
    const path = join(scratch(), 'source')
    writeFileSync(path, noise(20_000, 1))
    utimesSync(path, new Date(5), new Date(5))
    const onProgress = vi.fn<OnProgress>((progress) => {
      if (progress.phase === 'reading' && progress.blob === 'b') change(path)
    })
    const error = await failing({ a: 'x', b: { file: path } }, { onProgress })
    expect(onProgress).toHaveBeenCalledTimes(2)
    expect(error).toMatchObject({ code: 'SOURCE_CHANGED', kind: 'conflict', details: { blob: 'b', path } })
  })

  test.each<[string, (root: string) => void, string]>([
    ['one that was read is written to', (root) => appendFileSync(join(root, 'a'), 'more'), 'a'],
    ['one goes before it is read', (root) => rmSync(join(root, 'ünï 漢')), 'ünï 漢'],
    ['one comes', (root) => writeFileSync(join(root, 'deep', 'new'), ''), 'deep/new'],
    ['one that was read goes', (root) => renameSync(join(root, 'a'), join(root, '..', 'gone')), 'a'],
    ['an empty directory gets a file', (root) => writeFileSync(join(root, 'empty', 'x'), ''), 'empty/x'],
  ])('a directory whose files change between the first and the last: %s', async (_, change, changed) => {
    const directory = join(scratch(), 'source')
    mkdirSync(directory)
    nested(directory)
    utimesSync(join(directory, 'a'), new Date(5), new Date(5))
    const onProgress = vi.fn<OnProgress>((progress) => {
      if (progress.phase === 'reading' && progress.blob === 'd/deep/c.bin') change(directory)
    })
    const error = await failing({ d: { directory } }, { onProgress })
    expect(error).toMatchObject({ code: 'SOURCE_CHANGED', details: { blob: 'd', path: directory } })
    expect((error as HoldfastError).details.files).toContain(changed)
  })

  test('a file whose name is not UTF-8 is refused by name', async () => {
    if (process.platform !== 'linux') return
    const root = scratch()
    writeFileSync(Buffer.concat([Buffer.from(`${root}/`), Buffer.from('caf\xe9', 'latin1')]), 'x')
    expect(await failing({ d: { directory: root } })).toMatchObject({
      code: 'BLOB_NAME_INVALID',
      details: { reason: 'not UTF-8' },
    })
    const honest = scratch()
    writeFileSync(join(honest, 'caf\ufffd'), 'x')
    await memory().persist({ blobs: { d: { directory: honest } } })
  })

  test('a stream is told that nobody reads it any more', async () => {
    const ended = vi.fn()
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield noise(100_000, 1)
      } finally {
        ended()
      }
    }
    let parts = 0
    const stop = new Error('enough')
    const error = await failing(
      { a: endless() },
      {
        onProgress() {
          parts += 1
          if (parts > 1) throw stop
        },
      },
    )
    expect(error).toBe(stop)
    expect(ended).toHaveBeenCalledOnce()

    const stream = new Readable({ read: () => stream.push(noise(100_000, 1)) })
    await failing(
      { a: stream },
      {
        onProgress() {
          throw stop
        },
      },
    )
    expect(stream.destroyed).toBe(true)
  })
})

describe('a source that gives its bytes only once', () => {
  /** Each kind of it. The second save gets the same object. */
  const onePass: Record<string, () => BlobInput> = {
    'a Node stream': () => Readable.from([bytes.slice()]),
    'a web stream': () => new Blob([bytes]).stream() as ReadableStream<Uint8Array>,
    'a generator': () => split(bytes, [5]),
    'an async generator': () => parts(),
    'an iterator of an array': () => [bytes][Symbol.iterator](),
    'an iterable over one generator': () => {
      const generator = parts()
      return { [Symbol.asyncIterator]: () => generator }
    },
    'a stream with options': () => ({ source: Readable.from([bytes.slice()]), type: 'x' }),
  }

  test.each(Object.entries(onePass))('%s that was saved is refused a second time', async (_, make) => {
    const store = memory()
    const given = { a: make() }
    await store.persist({ blobs: given })
    const error = await rejects(store.persist({ blobs: given }), 'SOURCE_FAILED')
    expect(error.details).toEqual({ blob: 'a' })
    const snapshot = await store.load()
    expect(snapshot!.sequence).toBe(1)
    expect(snapshot!.blob('a').size).toBe(bytes.length)
  })

  test('one that is known to be read is refused before the lock', async () => {
    const store = await openStore(join(scratch(), 'store'))
    const generator = parts()
    await memory().persist({ blobs: { a: generator } })
    const node = Readable.from([bytes])
    for await (const _ of node) break
    const web = new Blob([bytes]).stream() as ReadableStream<Uint8Array>
    const reader = web.getReader()
    await reader.read()
    const read = { generator, node, locked: web }
    for (const [name, source] of Object.entries(read)) {
      await rejects(store.persist({ blobs: { [name]: source } }), 'SOURCE_FAILED')
    }
    reader.releaseLock()
    await rejects(store.persist({ blobs: { web } }), 'SOURCE_FAILED')
    expect(await store.load()).toBeNull()
    await store.close()
  })

  test('one for two blobs is refused', async () => {
    const stream = parts()
    await rejects(memory().persist({ blobs: { a: stream, b: { source: stream } } }), 'SOURCE_FAILED')
    const saved = await memory().persist({ blobs: { a: 'b', b: 'a' } })
    expect(Object.keys(saved.blobs)).toEqual(['a', 'b'])
  })

  test('one that was refused before it was read can be given again', async () => {
    const store = memory()
    const stream = parts()
    await rejects(store.persist({ blobs: { a: stream }, expectedHead: 7 }), 'HEAD_CONFLICT')
    await store.persist({ blobs: { a: stream } })
    expect((await store.load())!.blob('a').size).toBe(bytes.length)
  })

  test('an iterator of entries that was read before is no empty snapshot', async () => {
    const store = memory()
    const entries = new Map([['a', 'x']]).entries()
    await store.persist({ blobs: entries })
    await expect(store.persist({ blobs: entries })).rejects.toThrow(TypeError)
    expect((await store.load())!.names).toEqual(['a'])
  })
})

describe('a blob of a snapshot as a source', () => {
  test('is kept as it was, again and again', async () => {
    const store = memory()
    await store.persist({ blobs: { a: { source: bytes, chunking: fixed(4096), type: 'x/y' } } })
    await using snapshot = (await store.load())!
    const a = snapshot.blob('a')
    const copy = memory()
    for (const message of ['first', 'second']) {
      await copy.persist({ blobs: { plain: a, recut: { source: a, chunking: fixed(512) } }, message })
    }
    await using copied = (await copy.load())!
    expect(copied.blob('plain')).toMatchObject({ cid: a.cid, chunking: fixed(4096), type: 'x/y' })
    expect(copied.blob('recut')).toMatchObject({ chunking: fixed(512), type: 'x/y' })
    expect(sameBytes(await copied.blob('recut').bytes(), bytes)).toBe(true)
  })

  test('fails when its snapshot was disposed', async () => {
    const store = memory()
    await store.persist({ blobs: { a: bytes } })
    const snapshot = (await store.load())!
    await snapshot.dispose()
    const error = await rejects(store.persist({ blobs: { a: snapshot.blob('a') } }), 'SOURCE_FAILED')
    expect(error.cause).toMatchObject({ code: 'SNAPSHOT_DISPOSED' })
  })
})

describe.skipIf(process.platform === 'win32')('a named pipe', () => {
  function pipeIn(directory: string): string {
    const path = join(directory, 'pipe')
    execFileSync('mkfifo', [path])
    return path
  }

  test('is refused at once, by every way to it', async () => {
    const directory = scratch()
    const path = pipeIn(directory)
    symlinkSync('pipe', join(directory, 'link'))
    const sources: BlobInput[] = [
      { file: path },
      { file: join(directory, 'link') },
      { directory },
      (to) => execFileSync('mkfifo', [to]),
    ]
    for (const source of sources) await rejects(memory().persist({ blobs: { a: source } }), 'SOURCE_FAILED')
  })

  test('is not opened: whoever waits at its other end to write would begin, and fail', async () => {
    const directory = scratch()
    const path = pipeIn(directory)
    const opened: string[] = []
    const fs: FileSystem = {
      ...nodeFileSystem,
      open: (name, how, mode) => {
        opened.push(name)
        return nodeFileSystem.open(name, how, mode)
      },
    }
    const store = storeOver(directoryStorage({ fs, path: join(directory, 'store'), readOnly: false, lock: 'os' }), fs)
    await rejects(store.persist({ blobs: { a: { file: path } } }), 'SOURCE_FAILED')
    expect(opened).not.toContain(path)
  })

  test('that takes the place of a file does not keep an abort from being heard', async () => {
    const directory = scratch()
    const path = fileIn(directory)
    const abort = new AbortController()
    // The file was looked at, and is a pipe by now: opening it waits.
    const fs: FileSystem = {
      ...nodeFileSystem,
      open: (opened, how, mode) => {
        if (opened !== path) return nodeFileSystem.open(opened, how, mode)
        abort.abort()
        return new Promise(() => {})
      },
    }
    const store = storeOver(directoryStorage({ fs, path: join(directory, 'store'), readOnly: false, lock: 'os' }), fs)
    expect(await failure(store.persist({ blobs: { a: { file: path } }, signal: abort.signal }))).toBe(
      abort.signal.reason,
    )
  })
})

describe('misuse is a TypeError before anything is done', () => {
  const none = undefined as unknown as BlobInput
  test.each<[string, PersistOptions['blobs']]>([
    ['no blobs', undefined as unknown as Record<string, BlobInput>],
    ['text for blobs', 'text' as unknown as Record<string, BlobInput>],
    ['a Promise for blobs', Promise.resolve({ a: 'x' }) as unknown as Record<string, BlobInput>],
    ['entries that are none', ['a'] as unknown as [string, BlobInput][]],
    ['a Promise for a blob', { a: Promise.resolve('x') as unknown as BlobInput }],
    ['a Promise for a source', { a: { source: Promise.resolve('x') } as unknown as BlobInput }],
    ['undefined for a blob', { a: none }],
    ['null for a blob', { a: null as unknown as BlobInput }],
    ['a number for a blob', { a: 5 as unknown as BlobInput }],
    ['an object without a source', { a: {} as unknown as BlobInput }],
    ['a Float32Array', { a: new Float32Array(3) as unknown as BlobInput }],
    ['a DataView', { a: new DataView(new ArrayBuffer(3)) as unknown as BlobInput }],
    ['shared memory without a view', { a: new SharedArrayBuffer(3) as unknown as BlobInput }],
    ['text with a lone surrogate', { a: 'x\ud800' }],
    ['no source in a source', { a: { source: none } as unknown as BlobInput }],
    ['a directory for a source', { a: { source: { directory: '/' } } as unknown as BlobInput }],
    ['a file that is no path', { a: { file: 5 } as unknown as BlobInput }],
    ['an empty path', { a: { file: '' } }],
    ['a URL of the web', { a: { file: new URL('https://example.org/x') } }],
    ['a directory of the web', { a: { directory: new URL('https://example.org/x') } }],
    ['a name that is no text', new Map([[5 as unknown as string, 'x']])],
    [
      'one name twice',
      [
        ['a', 'x'],
        ['a', 'x'],
      ],
    ],
    ['a type that is no text', { a: { source: 'x', type: 5 as unknown as string } }],
    ['a type with a lone surrogate', { a: { source: 'x', type: '\udc00' } }],
    ['chunking of no kind', { a: { source: 'x', chunking: {} as unknown as ReturnType<typeof fixed> } }],
    ['chunking that is a number', { a: { source: 'x', chunking: 512 as unknown as ReturnType<typeof fixed> } }],
  ])('%s', async (_, blobs) => {
    const path = join(scratch(), 'store')
    const store = await openStore(path)
    expect(await failure(store.persist({ blobs }))).toBeInstanceOf(TypeError)
    expect(files(join(path, '..'))).toEqual([])
  })

  test.each([
    { kind: 'fixed' as const, size: 511 },
    { kind: 'fixed' as const, size: 1_048_577 },
    { kind: 'fixed' as const, size: 600.5 },
    { kind: 'fixed' as const, size: '512' as unknown as number },
    { kind: 'content' as const, average: 5000 },
    { kind: 'content' as const, average: undefined as unknown as number },
  ])('chunking that no reader would accept is a RangeError: %o', async (chunking) => {
    const store = memory()
    expect(await failure(store.persist({ blobs: { a: 'x' }, chunking }))).toBeInstanceOf(RangeError)
    expect(await failure(store.persist({ blobs: { a: { source: 'x', chunking } } }))).toBeInstanceOf(RangeError)
    expect(await failure(store.persist({ blobs: { a: { file: '/x', chunking } } }))).toBeInstanceOf(RangeError)
    expect(await failure(store.persist({ blobs: { a: { directory: '/x', chunking } } }))).toBeInstanceOf(RangeError)
    expect(await store.load()).toBe(null)
  })
})

test.each([
  ['65,537 blobs', 65_537, 1, { limit: 'blobs', max: 65_536, actual: 65_537 }],
  ['20,000 names of 1,000 bytes', 20_000, 995, { limit: 'nameBytes', max: 12_582_912, actual: 19_988_890 }],
])('%s are refused before any of them is read', async (_, count, nameBytes, details) => {
  let read = 0
  const source = (): BlobInput => ({
    [Symbol.iterator]: () => {
      read += 1
      return [bytes][Symbol.iterator]()
    },
  })
  const blobs = Array.from({ length: count }, (_each, n): [string, BlobInput] => [
    `${'n'.repeat(nameBytes)}${n}`,
    source(),
  ])
  const error = await rejects(memory().persist({ blobs }), 'LIMIT_EXCEEDED')
  expect(error.details).toMatchObject(details)
  expect(read).toBe(0)
})

test.each([
  ['1 blob', 1],
  ['300 blobs', 300],
])('metadata that no manifest of %s can hold is refused before any of them is read', async (_, count) => {
  let read = 0
  const source = (): BlobInput => ({
    [Symbol.iterator]: () => {
      read += 1
      return [bytes][Symbol.iterator]()
    },
  })
  const blobs = Array.from({ length: count }, (_each, n): [string, BlobInput] => [`n${n}`, source()])
  const store = memory()
  const text = 'x'.repeat(16_777_216 - (count === 1 ? 200 : 100))
  const error = await rejects(store.persist({ blobs, metadata: { text } }), 'LIMIT_EXCEEDED')
  expect(error.details).toMatchObject({ limit: 'manifestBytes', max: 16_777_216 })
  expect(read).toBe(0)
})

test('a directory that is written and cannot be made durable is said to be there, perhaps not for good', async () => {
  const parent = scratch()
  const fs: FileSystem = {
    ...nodeFileSystem,
    async openDirectory(path) {
      const directory = await nodeFileSystem.openDirectory(path)
      const broken = Object.assign(new Error('EIO: i/o error, fsync'), { code: 'EIO', syscall: 'fsync' })
      return path === parent ? { ...directory, sync: () => Promise.reject(broken) } : directory
    },
  }
  const path = join(scratch(), 'store')
  await using store = storeOver(directoryStorage({ fs, path, readOnly: false, lock: 'os' }), fs)
  await store.persist({ blobs: { 'tree/a': 'A', 'tree/b/c': 'C' } })
  await using snapshot = await store.load()
  const target = join(parent, 'copy')
  const error = await rejects(snapshot!.directory('tree').writeTo(target), 'COMMIT_UNKNOWN')
  expect(error.details).toEqual({ path: target })
  expect(error.message).toContain('Remove it and write it again')
  expect(readFileSync(join(target, 'b/c'), 'utf8')).toBe('C')
})

test('an abort answers, and frees the store, though a save function never does', async () => {
  await using store = memory()
  const abort = new AbortController()
  const reason = new Error('enough')
  const save = () => {
    setTimeout(() => abort.abort(reason), 5)
    return new Promise(() => {})
  }
  await expect(store.persist({ blobs: { a: save }, signal: abort.signal })).rejects.toBe(reason)
  await store.persist({ blobs: { a: 'the next one' } })
})

test('a buffer that was transferred is refused by the name of its blob', async () => {
  const buffer = new ArrayBuffer(10)
  const view = new Uint8Array(10)
  structuredClone(buffer, { transfer: [buffer] })
  structuredClone(view.buffer, { transfer: [view.buffer] })
  for (const a of [buffer, view]) {
    await expect(memory().persist({ blobs: { a } })).rejects.toThrow(/blob "a" is a detached buffer/)
  }
})

test.runIf(process.platform === 'linux').each(['/proc/self/status', '/proc/cpuinfo', '/proc/sys/kernel/ostype'])(
  '%s, which is made while it is read, is refused with what to do, and its bytes are taken',
  async (file) => {
    const error = await rejects(memory().persist({ blobs: { a: { file } } }), 'SOURCE_FAILED')
    expect(error.message).toMatch(/made while it is read.*read it yourself/)
    expect(error.details).toEqual({ blob: 'a', path: file })
    await memory().persist({ blobs: { a: readFileSync(file) } })
  },
)
