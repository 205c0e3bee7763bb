import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { loadSnapshot, openStore } from '../src/index.ts'
import { jsonDocuments, vectors } from './data.ts'
import { assertSame, type Context, isLate, optional } from './group.ts'
import { bytesText, log, MIB, msText, rounds, settleDisk, stat, timed } from './measure.ts'
import type { GroupResult, RivalTable } from './result.ts'
import { installed, run } from './tools.ts'
import { treeBytes } from './tree-bytes.ts'

/** One way to keep a blob. `begin` is not timed; `persist` ends when it is as durable as it gets. */
export interface Rival {
  name: string
  durability: string
  begin(directory: string, bytes: Uint8Array, file: string): Promise<Session>
}

export interface Session {
  persist(): Promise<void>
  /** Answers the bytes, or the path of the file they were restored into. */
  restore(): Promise<Uint8Array | string>
  /** Where what is stored lies. */
  stored: string
  end(): Promise<void>
}

export async function rivals(context: Context): Promise<GroupResult> {
  const { all, skipped } = await findRivals(context)
  const tables: RivalTable[] = []
  const sets: [string, () => Uint8Array][] = context.quick
    ? [['32 MiB of float vectors', () => vectors(32 * MIB)]]
    : [
        ['256 MiB of float vectors', () => vectors(256 * MIB)],
        ['64 MiB of JSON', () => jsonDocuments(64 * MIB)],
      ]
  for (const [data, make] of sets) {
    if (isLate(context)) skipped.push(`${data}: out of time`)
    else tables.push(await table(context, all, data, make()))
  }
  return { rivals: tables, skipped }
}

async function table(context: Context, all: readonly Rival[], data: string, bytes: Uint8Array): Promise<RivalTable> {
  log(data)
  const source = join(context.scratch, 'source')
  mkdirSync(source, { recursive: true })
  const file = join(source, 'data.bin')
  writeFileSync(file, bytes)
  const results = new Map(
    all.map(({ name }) => [name, { persist: [] as number[], restore: [] as number[], stored: 0 }]),
  )
  await warmUp(context, all, source)
  const more = rounds(context.quick ? 1 : 3, 150_000, 1)
  for (let round = 0; more(round) && !(round > 0 && isLate(context)); round++) {
    for (const rival of round % 2 === 0 ? all : all.toReversed()) {
      const directory = join(context.scratch, 'rival')
      mkdirSync(directory)
      const session = await rival.begin(directory, bytes, file)
      const result = results.get(rival.name)!
      settleDisk()
      result.persist.push(await timed(() => session.persist()))
      settleDisk()
      let restored: Uint8Array | string = ''
      result.restore.push(
        await timed(async () => {
          restored = await session.restore()
        }),
      )
      assertSame(typeof restored === 'string' ? readFileSync(restored) : restored, bytes, rival.name)
      if (typeof restored === 'string') rmSync(restored)
      await session.end()
      result.stored = treeBytes(session.stored)
      rmSync(directory, { recursive: true })
    }
  }
  rmSync(source, { recursive: true })
  const rows = all.map(({ name, durability }) => {
    const { persist, restore, stored } = results.get(name)!
    return { name, durability, persist: stat(persist), restore: stat(restore), storedBytes: stored }
  })
  for (const row of rows) {
    log(
      `  ${row.name}: persist ${msText(row.persist.median)}, restore ${msText(row.restore.median)}, ${bytesText(row.storedBytes)}`,
    )
  }
  return { data, bytes: bytes.length, rows }
}

/** Everybody once with little, so that nobody's first time counts. */
async function warmUp(context: Context, all: readonly Rival[], source: string): Promise<void> {
  const bytes = vectors(16 * MIB)
  const file = join(source, 'warm-up.bin')
  writeFileSync(file, bytes)
  for (const rival of all) {
    const directory = join(context.scratch, 'warm-up')
    mkdirSync(directory)
    const session = await rival.begin(directory, bytes, file)
    await session.persist()
    await session.restore()
    await session.end()
    rmSync(directory, { recursive: true })
  }
}

async function findRivals(context: Context): Promise<{ all: Rival[]; skipped: string[] }> {
  const skipped: string[] = []
  const all: Rival[] = [holdfast, holdfastFiles]
  for (const [name, make] of [
    ['cacache', withCacache],
    ['blockstore-fs + ipfs-unixfs', withUnixfs],
    ['lmdb', withLmdb],
    ['better-sqlite3', withSqlite],
    ['restic', restic],
    ['borg', borg],
    ['casync', casync],
  ] as const) {
    const rival = await make(context)
    if (rival === null) skipped.push(`${name}: not installed`)
    else all.push(rival)
  }
  for (const text of skipped) log(`skipped: ${text}`)
  return { all, skipped }
}

const holdfast: Rival = {
  name: 'holdfast',
  durability: 'fsyncs every file and directory',
  async begin(directory, bytes) {
    const path = join(directory, 'store')
    const store = await openStore(path)
    return {
      persist: async () => void (await store.persist({ blobs: { data: bytes } })),
      restore: async () => {
        const snapshot = await loadSnapshot(path)
        const loaded = await snapshot!.blob('data').bytes()
        await snapshot!.dispose()
        return loaded
      },
      stored: path,
      end: () => store.close(),
    }
  },
}

const holdfastFiles: Rival = {
  name: 'holdfast, file to file',
  durability: 'fsyncs every file and directory, the restored file too',
  async begin(directory, _, file) {
    const path = join(directory, 'store')
    const store = await openStore(path)
    return {
      persist: async () => void (await store.persist({ blobs: { data: { file } } })),
      restore: async () => {
        const target = join(directory, 'restored.bin')
        const snapshot = await loadSnapshot(path)
        await snapshot!.blob('data').writeTo(target)
        await snapshot!.dispose()
        return target
      },
      stored: path,
      end: () => store.close(),
    }
  },
}

interface Cacache {
  put(cache: string, key: string, data: Uint8Array): Promise<unknown>
  get(cache: string, key: string, options: { memoize: boolean }): Promise<{ data: Uint8Array }>
}

async function withCacache(context: Context): Promise<Rival | null> {
  const cacache = await optional<Cacache>(context, 'cacache')
  if (cacache === null) return null
  return {
    name: 'cacache',
    durability: 'never fsyncs',
    async begin(directory, bytes) {
      const cache = join(directory, 'cache')
      return {
        persist: async () => void (await cacache.put(cache, 'data', Buffer.from(bytes.buffer, 0, bytes.length))),
        restore: async () => (await cacache.get(cache, 'data', { memoize: false })).data,
        stored: cache,
        end: async () => {},
      }
    },
  }
}

interface Unixfs {
  importBytes(bytes: Uint8Array, store: unknown): Promise<{ cid: unknown }>
  exporter(cid: unknown, store: unknown): Promise<{ content(): AsyncIterable<Uint8Array> }>
}

async function withUnixfs(context: Context): Promise<Rival | null> {
  const blockstore = await optional<{
    FsBlockstore: new (path: string) => { open(): Promise<void>; close(): Promise<void> }
  }>(context, 'blockstore-fs')
  const importer = await optional<Pick<Unixfs, 'importBytes'>>(context, 'ipfs-unixfs-importer')
  const exporter = await optional<Pick<Unixfs, 'exporter'>>(context, 'ipfs-unixfs-exporter')
  if (blockstore === null || importer === null || exporter === null) return null
  return {
    name: 'blockstore-fs + ipfs-unixfs',
    durability: 'never fsyncs',
    async begin(directory, bytes) {
      const path = join(directory, 'blocks')
      const store = new blockstore.FsBlockstore(path)
      await store.open()
      let cid: unknown
      return {
        persist: async () => {
          cid = (await importer.importBytes(bytes, store)).cid
        },
        restore: async () => {
          const target = new Uint8Array(bytes.length)
          let at = 0
          for await (const part of (await exporter.exporter(cid, store)).content()) {
            target.set(part, at)
            at += part.length
          }
          return target
        },
        stored: path,
        end: () => store.close(),
      }
    },
  }
}

interface Lmdb {
  open(options: { path: string; encoding: 'binary'; mapSize: number }): {
    put(key: string, value: Uint8Array): Promise<boolean>
    flushed: Promise<boolean>
    getBinary(key: string): Buffer
    close(): Promise<void>
  }
}

async function withLmdb(context: Context): Promise<Rival | null> {
  const lmdb = await optional<Lmdb>(context, 'lmdb')
  if (lmdb === null) return null
  return {
    name: 'lmdb',
    durability: 'put, then `flushed`: fsyncs; reads are not verified',
    async begin(directory, bytes) {
      const path = join(directory, 'data.lmdb')
      const database = lmdb.open({ path, encoding: 'binary', mapSize: bytes.length * 4 })
      return {
        persist: async () => {
          await database.put('data', Buffer.from(bytes.buffer, 0, bytes.length))
          await database.flushed
        },
        restore: async () => database.getBinary('data'),
        stored: path,
        end: () => database.close(),
      }
    },
  }
}

interface SqliteDatabase {
  pragma(text: string): unknown
  exec(sql: string): void
  prepare(sql: string): { run(...args: unknown[]): void; get(...args: unknown[]): { data: Buffer } }
  close(): void
}

async function withSqlite(context: Context): Promise<Rival | null> {
  const Database = await optional<new (path: string) => SqliteDatabase>(context, 'better-sqlite3')
  if (Database === null) return null
  return {
    name: 'better-sqlite3 blob',
    durability:
      'journal_mode=DELETE, synchronous=EXTRA: fsyncs, the directory too; blocks the event loop; not verified',
    async begin(directory, bytes) {
      const path = join(directory, 'data.db')
      const database = new Database(path)
      database.pragma('journal_mode = DELETE')
      database.pragma('synchronous = EXTRA')
      database.exec('CREATE TABLE blobs (name TEXT PRIMARY KEY, data BLOB)')
      return {
        persist: async () => database.prepare('INSERT INTO blobs VALUES (?, ?)').run('data', bytes),
        restore: async () => database.prepare('SELECT data FROM blobs WHERE name = ?').get('data').data,
        stored: path,
        end: async () => database.close(),
      }
    },
  }
}

async function restic(): Promise<Rival | null> {
  if (!installed('restic')) return null
  return {
    name: 'restic',
    durability: 'fsyncs its packs; the restored file not',
    async begin(directory, _, file) {
      const repository = join(directory, 'repository')
      run('restic', ['-r', repository, 'init'], { home: directory })
      const target = join(directory, 'restored')
      return {
        persist: async () => run('restic', ['-r', repository, 'backup', file], { home: directory }),
        restore: async () => {
          run('restic', ['-r', repository, 'restore', 'latest', '--target', target], { home: directory })
          return join(target, file)
        },
        stored: repository,
        end: async () => {},
      }
    },
  }
}

async function borg(): Promise<Rival | null> {
  if (!installed('borg')) return null
  return {
    name: 'borg',
    durability: 'fsyncs its segments; the restored file not',
    async begin(directory, _, file) {
      const repository = join(directory, 'repository')
      run('borg', ['init', '-e', 'none', repository], { home: directory })
      const target = join(directory, 'restored')
      mkdirSync(target)
      return {
        persist: async () => run('borg', ['create', `${repository}::one`, file], { home: directory }),
        restore: async () => {
          run('borg', ['extract', `${repository}::one`], { home: directory, cwd: target })
          return join(target, file)
        },
        stored: repository,
        end: async () => {},
      }
    },
  }
}

async function casync(): Promise<Rival | null> {
  if (!installed('casync')) return null
  return {
    name: 'casync',
    durability: 'never fsyncs',
    async begin(directory, _, file) {
      const store = join(directory, 'stored', 'default.castr')
      const index = join(directory, 'stored', 'data.caibx')
      mkdirSync(store, { recursive: true })
      const target = join(directory, 'restored.bin')
      return {
        persist: async () => run('casync', ['make', `--store=${store}`, index, file], { home: directory }),
        restore: async () => {
          run('casync', ['extract', `--store=${store}`, index, target], { home: directory })
          return target
        },
        stored: join(directory, 'stored'),
        end: async () => {},
      }
    },
  }
}
