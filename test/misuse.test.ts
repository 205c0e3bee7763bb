import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import type { CID } from 'multiformats'
import { afterAll, describe, expect, test } from 'vitest'
import { asBlockstore } from '../src/blockstore.ts'
import { exportCar, importCar } from '../src/car/index.ts'
import * as durable from '../src/durable.ts'
import { persistEngine, restoreEngine } from '../src/engines/adapter.ts'
import { autosave, startEngine } from '../src/engines/autosave.ts'
import { flexsearch } from '../src/engines/flexsearch.ts'
import { followEngine } from '../src/engines/follow.ts'
import { hnswlib } from '../src/engines/hnswlib.ts'
import { minisearch } from '../src/engines/minisearch.ts'
import { orama } from '../src/engines/orama.ts'
import { plain } from '../src/engines/plain.ts'
import { sqlite } from '../src/engines/sqlite.ts'
import { usearch } from '../src/engines/usearch.ts'
import {
  checkDirectory,
  content,
  destroyStore,
  follow,
  loadSnapshot,
  memory,
  openStore,
  persistSnapshot,
  type Snapshot,
  type Store,
  setAside,
} from '../src/index.ts'
import { assertOptions } from '../src/misuse.ts'
import { files } from './support/tree.ts'

// What a caller gets wrong is a TypeError that says what to do, from every public call, before anything is changed.

const directory = mkdtempSync(join(tmpdir(), 'holdfast-misuse-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const adapter = plain<object>({ name: 'mine', save: () => 'state', restore: () => ({}) })
const blobs = { a: 'a' }
const missing = join(directory, 'nothing')

async function filled(): Promise<{ store: Store; snapshot: Snapshot }> {
  const store = memory()
  await store.persist({ blobs: { 'a/b': 'a', index: 'i' } })
  return { store, snapshot: (await store.load())! }
}

/** As a JavaScript program calls it. */
type Loose = (...values: unknown[]) => unknown
const loose = (call: unknown): Loose => call as Loose
async function failure(call: () => unknown): Promise<Error> {
  try {
    await call()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing was refused')
}

/** Each public call that takes options, with `wrong` among them. */
async function calls(wrong: object): Promise<Record<string, () => unknown>> {
  const { store, snapshot } = await filled()
  const blob = snapshot.blob('index')
  const path = join(missing, 'file')
  class Class {}
  return {
    openStore: () => loose(openStore)(missing, wrong),
    memory: () => loose(memory)(wrong),
    persistSnapshot: () => loose(persistSnapshot)(missing, { blobs, ...wrong }),
    'persistSnapshot of a store': () => loose(persistSnapshot)(store, { blobs, ...wrong }),
    loadSnapshot: () => loose(loadSnapshot)(missing, wrong),
    'loadSnapshot of a store': () => loose(loadSnapshot)(store, wrong),
    setAside: () => loose(setAside)(missing, { reason: 'test', ...wrong }),
    destroyStore: () => loose(destroyStore)(missing, wrong),
    checkDirectory: () => loose(checkDirectory)(directory, wrong),
    content: () => loose(content)(wrong),
    persist: () => loose(store.persist)({ blobs, ...wrong }),
    load: () => loose(store.load)(wrong),
    'source of load': () => loose(store.load)({ source: { watermark: 1, ...wrong } }),
    restore: () => loose(store.restore)(() => 1, wrong),
    tag: () => loose(store.tag)('x', wrong),
    untag: () => loose(store.untag)('x', wrong),
    rollback: () => loose(store.rollback)(1, wrong),
    forget: () => loose(store.forget)([1], wrong),
    gc: () => loose(store.gc)(wrong),
    stats: () => loose(store.stats)(wrong),
    copy: () => loose(store.copy)(path, wrong),
    diff: () => loose(store.diff)(1, 1, wrong),
    discard: () => loose(store.quarantine.discard)(wrong),
    verify: () => loose(store.verify)(wrong),
    scrub: () => loose(store.scrub)(wrong),
    repair: () => loose(store.repair)(wrong),
    materialize: () => loose(store.materialize)(wrong),
    'a blob with a source': () => loose(store.persist)({ blobs: { a: { source: 'a', ...wrong } } }),
    'a blob with a file': () => loose(store.persist)({ blobs: { a: { file: path, ...wrong } } }),
    'a blob with a directory': () => loose(store.persist)({ blobs: { a: { directory: missing, ...wrong } } }),
    bytes: () => loose(blob.bytes)(wrong),
    text: () => loose(blob.text)(wrong),
    json: () => loose(blob.json)(wrong),
    stream: () => (loose(blob.stream)(wrong) as AsyncIterator<unknown>).next(),
    file: () => loose(blob.file)(wrong),
    writeTo: () => loose(blob.writeTo)(path, wrong),
    'writeTo of a directory': () => loose(snapshot.directory('a').writeTo)(path, wrong),
    persistEngine: () => loose(persistEngine)(missing, adapter, {}, wrong),
    'persistEngine into a store': () => loose(persistEngine)(store, adapter, {}, wrong),
    alongside: () => loose(persistEngine)(store, adapter, {}, { alongside: wrong }),
    restoreEngine: () => loose(restoreEngine)(missing, adapter, wrong),
    startEngine: () => loose(startEngine)(missing, adapter, { create: () => ({}), ...wrong }),
    autosave: () => loose(autosave)(missing, adapter, {}, wrong),
    minisearch: () => loose(minisearch)(Class, { fields: ['a'] }, wrong),
    orama: () => loose(orama)({}, { schema: {} }, wrong),
    flexsearch: () => loose(flexsearch)(Class, {}, wrong),
    usearch: () => loose(usearch)(Class, { dimensions: 2 }, wrong),
    hnswlib: () => loose(hnswlib)(Class, { space: 'l2', dim: 2 }, wrong),
    sqlite: () => loose(sqlite)(() => ({}), wrong),
    plain: () => loose(plain)({ name: 'x', save() {}, restore() {}, ...wrong }),
    writeFileDurable: () => loose(durable.writeFileDurable)(path, 'x', wrong),
    reapOrphans: () => loose(durable.reapOrphans)(path, wrong),
    quarantine: () => loose(durable.quarantine)(path, { reason: 'x', ...wrong }),
    findStale: () => loose(durable.findStale)({ derived: path, source: path, olderThanMs: 1, ...wrong }),
    quarantineStale: () => loose(durable.quarantineStale)({ derived: path, source: path, olderThanMs: 1, ...wrong }),
  }
}

const CALLS = Object.keys(await calls({}))

describe.each(CALLS)('%s', (name) => {
  test('refuses an option that does not exist, and changes nothing', async () => {
    const error = await failure((await calls({ nonsense: undefined }))[name]!)
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toMatch(/: unknown option nonsense: the options are \w/)
    expect(files(directory)).toEqual([])
  })
})

test('an unknown option names the one that was meant', async () => {
  for (const [given, meant] of [
    ['readonly', 'readOnly'],
    ['read_only', 'readOnly'],
    ['lockWait', 'lockWaitMs'],
    ['lockwaitms', 'lockWaitMs'],
    ['keeplast', 'keepLast'],
    ['compresion', 'compression'],
    ['fileDir', 'filesDir'],
    ['onWarn', 'onWarning'],
  ]) {
    const { message } = await failure(() => openStore(missing, { [given!]: true }))
    expect(message).toBe(`openStore: unknown option ${given}: did you mean ${meant}?`)
  }
  // Names of Object.prototype are options of nobody.
  for (const name of ['constructor', 'toString', 'hasOwnProperty']) {
    expect((await failure(() => openStore(missing, { [name]: true }))).message).toContain(`unknown option ${name}`)
  }
})

test('an option of the wrong type is refused with what it must be', () => {
  const table = { flag: 'boolean', call: 'function', waitMs: 'ms', signal: 'signal', rest: 'any' } as const
  const check = (options: unknown) => assertOptions('here', options, table)
  for (const [options, message] of [
    [{ flag: 'false' }, 'here: flag must be true or false, got "false"'],
    [{ call: 1 }, 'here: call must be a function, got 1'],
    [{ waitMs: Number.NaN }, 'here: waitMs must be a number of milliseconds, 0 or more, got NaN'],
    [{ waitMs: -1 }, 'here: waitMs must be a number of milliseconds, 0 or more, got -1'],
    [{ signal: new AbortController() }, 'here: signal must be an AbortSignal, got an object'],
    [null, 'here: the options must be an object, got null; pass { call, flag, rest, signal, waitMs }'],
    [5, 'here: the options must be an object, got 5; pass { call, flag, rest, signal, waitMs }'],
    [[], 'here: the options must be an object, got an array; pass { call, flag, rest, signal, waitMs }'],
  ] as const) {
    expect(() => check(options)).toThrow(new TypeError(message))
  }
  check(undefined)
  check({ flag: undefined, call: undefined, waitMs: Number.POSITIVE_INFINITY, signal: new AbortController().signal })
})

test('a Promise in the place of its result is told, and a rejection of it ends nothing', async () => {
  const { store } = await filled()
  const later = () => Promise.reject(new Error('too late'))
  for (const call of [
    () => loose(persistSnapshot)(later(), { blobs }),
    () => loose(loadSnapshot)(later()),
    () => loose(openStore)(later()),
    () => loose(openStore)(missing, later()),
    () => loose(openStore)(missing, { filesDir: later() }),
    () => loose(store.persist)(later()),
    () => loose(store.persist)({ blobs: later() }),
    () => loose(store.persist)({ blobs: { a: later() } }),
    () => loose(store.persist)({ blobs: { a: { source: later() } } }),
    () => loose(store.persist)({ blobs: { a: { file: later() } } }),
    () => loose(store.persist)({ blobs, metadata: later() }),
    () => loose(store.persist)({ blobs, watermark: later() }),
    () => loose(store.load)({ source: { watermark: later() } }),
    () => loose(persistEngine)(store, later(), {}),
    () => loose(persistEngine)(store, adapter, later()),
    () => loose(persistEngine)(store, adapter, {}, { alongside: later() }),
    () => loose(persistEngine)(store, adapter, {}, { alongside: later }),
    () => loose(persistEngine)(later(), adapter, {}),
    () => loose(restoreEngine)(store, later()),
    () => loose(restoreEngine)(later(), adapter),
    () => loose(startEngine)(later(), adapter, { create: () => ({}) }),
    () => loose(autosave)(later(), adapter, {}),
    () => loose(autosave)(store, adapter, later()),
    () => loose(autosave)(store, adapter, {}, { restored: later() }),
    () => loose(durable.writeFileDurable)(join(missing, 'x'), later()),
    () => loose(durable.writeFileDurable)(later(), 'x'),
    () => loose(plain)(later()),
  ]) {
    const error = await failure(call)
    expect(error).toBeInstanceOf(TypeError)
    expect(error.message).toMatch(/is a Promise: await it/)
  }
  expect((await store.snapshots()).length).toBe(1)
  expect(files(directory)).toEqual([])
})

test('a path that begins with ~, or is the URL of something else, is refused with a hint; a file: URL is a path', async () => {
  for (const [path, hint] of [
    ['~', 'os.homedir()'],
    ['~/data', 'os.homedir()'],
    ['~user/data', 'os.homedir()'],
    ['s3://bucket/store', 's3: URLs are not supported'],
    ['http://user:secret@example.org/store', 'http: URLs are not supported'],
    ['postgres://db', 'postgres: URLs are not supported'],
    ['file://server/share', 'not a path of this machine'],
    ['a\0b', 'NUL character'],
    ['', 'an empty string'],
  ] as const) {
    for (const call of [
      () => openStore(path),
      () => openStore(missing, { filesDir: path }),
      () => setAside(path, { reason: 'test' }),
      () => destroyStore(path),
      () => checkDirectory(path),
      () => persistSnapshot(path, { blobs }),
      () => memory().persist({ blobs: { a: { file: path } } }),
      () => memory().persist({ blobs: { a: { directory: path } } }),
      async () => (await filled()).snapshot.blob('index').writeTo(path),
      () => durable.writeFileDurable(path, 'x'),
      () => durable.quarantine(path, { reason: 'test' }),
      () => autosave(path, adapter, {}),
    ]) {
      const error = await failure(call)
      expect(error).toBeInstanceOf(TypeError)
      expect(error.message).toContain(hint)
      expect(error.message).not.toContain('secret')
    }
  }
  await expect(failure(() => openStore(new URL('https://example.org/')))).resolves.toBeInstanceOf(TypeError)
  // Names that only look like it.
  for (const path of ['./~/x', '~x', 'c:/x', 'data:x']) expect((await openStore(path)).location).toContain('x')
  const url = pathToFileURL(join(directory, 'by url'))
  expect([(await openStore(url)).location, (await openStore(url.href)).location]).toEqual(
    Array(2).fill(join(directory, 'by url')),
  )
})

test('every public option takes undefined, for callers who compile with exactOptionalPropertyTypes', () => {
  const strict: string[] = []
  const root = new URL('../src/', import.meta.url)
  for (const path of readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))) {
    const source = readFileSync(new URL(path, root), 'utf8')
    // Those of these folders are not the callers'.
    if (/^(format|workers|fs|storage|blocks|local)\b/.test(path)) continue
    for (const [, name, body] of source.matchAll(
      /^export interface (\w*Options|Alongside|SourcePosition)\b[\s\S]*?\{\n([\s\S]*?)^\}/gm,
    )) {
      for (const [, option, type] of body!.matchAll(/^ {2}(\w+)\?: (.*)$/gm)) {
        if (!/\bundefined\b/.test(type!) && !/[({]$/.test(type!)) strict.push(`${name}.${option}`)
      }
    }
  }
  expect(strict).toEqual([])
})

test('a path below a file is told, and does not pass for a store that was never made', async () => {
  const path = join(directory, 'a file')
  writeFileSync(path, '')
  try {
    const error = await failure(() => loadSnapshot(join(path, 'inside', 'store')))
    expect(error).toMatchObject({
      code: 'NOT_A_STORE',
      message: expect.stringContaining('not a directory: check the path'),
    })
  } finally {
    rmSync(path)
  }
})

describe('what other programs are given', () => {
  test('a Promise of a store or of a snapshot: it is to be awaited', async () => {
    await using store = memory()
    await store.persist({ blobs: { a: 'one' } })
    const awaited = /is a Promise: await it/
    expect(() => asBlockstore(Promise.resolve(store) as unknown as Store)).toThrow(awaited)
    expect(() => exportCar(store.load() as unknown as Snapshot)).toThrow(awaited)
    await expect(importCar(Promise.resolve(store) as unknown as Store, new Uint8Array(1))).rejects.toThrow(awaited)
    await expect(store.diff(Promise.resolve(1) as unknown as number, 1)).rejects.toThrow(awaited)
  })

  test('a text in the place of a CAR file or of a CID: what to pass', async () => {
    await using store = memory()
    await expect(importCar(store, 'a.car' as unknown as Uint8Array)).rejects.toThrow(/pass \{ file \}/)
    await expect(asBlockstore(store).has('bafy' as unknown as CID)).rejects.toThrow(/CID\.parse/)
  })
})

describe('lists, numbers and objects', () => {
  test.each<[string, (store: Store) => Promise<unknown>]>([
    ['load: blobs', (store) => store.load({ blobs: 'a' as unknown as string[] })],
    ['load: minSequence', (store) => store.load({ minSequence: -1 })],
    ['persist: expectedHead', (store) => store.persist({ blobs, expectedHead: -1 })],
    ['load: metadataSchema', (store) => store.load({ metadataSchema: {} as never })],
    ['load: metadataSchema', (store) => store.load({ metadataSchema: null as never })],
    ['restore: blobs', (store) => restoreEngine(store, adapter, { blobs: 'a' as unknown as string[] })],
    ['restore: metadataSchema', (store) => restoreEngine(store, adapter, { metadataSchema: {} as never })],
    ['autosave: restored', async (store) => autosave(store, adapter, {}, { restored: 5 as never })],
    ['autosave: restored', async (store) => autosave(store, adapter, {}, { restored: { snapshot: {} } as never })],
    ['follow: the first argument is a store', async () => follow(null as never)],
    ['follow: the first argument is a store', async () => follow({} as never)],
    ['follow: the first argument is a store', () => followEngine(null as never, adapter, { swap: () => undefined })],
    ['followEngine: give the location', (store) => followEngine(store, null as never, { swap: () => undefined })],
    [
      'stream: the options',
      async (store) => {
        for await (const _ of (await store.load())!.blob('a').stream(null as never));
      },
    ],
    ['materialize: blobs', (store) => store.materialize({ blobs: 'a' as unknown as string[] })],
  ])('%s of another type is told', async (name, call) => {
    await using store = memory()
    await store.persist({ blobs: { a: 'one' } })
    const error = await failure(() => call(store))
    expect(error).toBeInstanceOf(TypeError)
    expect((error as Error).message).not.toMatch(/undefined|is not a function/)
    expect((error as Error).message).toContain(name.split(': ')[1])
  })

  test('what is no store cannot be followed, and what restoreEngine did not answer is not restored', async () => {
    await using store = memory()
    expect(() => follow(null as unknown as Store)).toThrow(/follow: the first argument is a store/)
    expect(() => follow(Promise.resolve(store) as unknown as Store)).toThrow(/is a Promise: await it/)
    const adapter = plain({ name: 'a', save: () => 'x', restore: () => ({}) })
    expect(() => autosave(store, adapter, {}, { restored: 5 as never })).toThrow(/what restoreEngine answered/)
  })

  test('blobs without an end are refused when there are too many', async () => {
    await using store = memory()
    function* endless(): Generator<[string, string]> {
      for (; ; taken++) yield [`blob ${taken}`, 'x']
    }
    let taken = 0
    expect(await failure(() => store.persist({ blobs: endless() }))).toMatchObject({ code: 'LIMIT_EXCEEDED' })
    expect(taken).toBe(65_536)
  })
})
