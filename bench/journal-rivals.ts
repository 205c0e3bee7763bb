// What else makes entries durable one after the other, or many at once: each at its own setting that survives a power
// loss.

import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { openStore } from '../src/index.ts'
import { type Context, optional } from './group.ts'

/** Something that entries are appended to. */
export interface Log {
  /** Durable when it resolves. */
  append(entry: Uint8Array): Promise<void>
  /** All of them, by the fastest way that it has; durable when it resolves. */
  appendAll(entries: readonly Uint8Array[]): Promise<void>
  close(): Promise<void>
}

export interface LogKind {
  name: string
  durability: string
  open(path: string): Promise<Log>
}

export const holdfast: LogKind = {
  name: 'holdfast',
  durability: 'fdatasync for each frame; many `append` in one turn',
  async open(path) {
    const store = await openStore(path)
    const journal = await store.openJournal()
    return {
      append: (entry) => journal.append(entry).durable,
      async appendAll(entries) {
        for (const entry of entries) journal.append(entry)
        await journal.flush()
      },
      async close() {
        await journal.close()
        await store.close()
      },
    }
  },
}

const appendedFile: LogKind = {
  name: 'appendFile + fsync',
  durability: 'fsync; no checksums; grouped: one write',
  async open(path) {
    const file = await open(path, 'a')
    const write = async (bytes: Uint8Array): Promise<void> => {
      await file.appendFile(bytes)
      await file.sync()
    }
    return { append: write, appendAll: (entries) => write(Buffer.concat(entries)), close: () => file.close() }
  },
}

interface SqliteDatabase {
  pragma(text: string): unknown
  exec(sql: string): void
  prepare(sql: string): { run(...args: unknown[]): void }
  transaction<T>(work: (of: T) => void): (of: T) => void
  close(): void
}

async function sqlite(context: Context): Promise<LogKind | null> {
  const Database = await optional<new (path: string) => SqliteDatabase>(context, 'better-sqlite3')
  if (Database === null) return null
  return {
    name: 'better-sqlite3',
    durability: 'WAL, synchronous=FULL; blocks the event loop; grouped: one transaction',
    async open(path) {
      const database = new Database(path)
      database.pragma('journal_mode = WAL')
      database.pragma('synchronous = FULL')
      database.exec('CREATE TABLE entries (sequence INTEGER PRIMARY KEY, data BLOB)')
      const insert = database.prepare('INSERT INTO entries (data) VALUES (?)')
      const all = database.transaction((entries: readonly Uint8Array[]) => {
        for (const entry of entries) insert.run(entry)
      })
      return {
        append: async (entry) => insert.run(entry),
        appendAll: async (entries) => all(entries),
        close: async () => database.close(),
      }
    },
  }
}

interface Lmdb {
  open(options: { path: string; encoding: 'binary'; keyEncoding: 'uint32'; mapSize: number }): {
    put(key: number, value: Uint8Array): Promise<boolean>
    flushed: Promise<boolean>
    close(): Promise<void>
  }
}

async function lmdb(context: Context): Promise<LogKind | null> {
  const found = await optional<Lmdb>(context, 'lmdb')
  if (found === null) return null
  return {
    name: 'lmdb',
    durability: '`put`, then `flushed`; many `put` in one turn',
    async open(path) {
      const database = found.open({ path, encoding: 'binary', keyEncoding: 'uint32', mapSize: 2 ** 31 })
      let key = 0
      return {
        async append(entry) {
          await database.put(key++, entry)
          await database.flushed
        },
        async appendAll(entries) {
          await Promise.all(entries.map((entry) => database.put(key++, entry)))
          await database.flushed
        },
        close: () => database.close(),
      }
    },
  }
}

interface LevelPackage {
  Level: new (
    path: string,
    options: { keyEncoding: 'utf8'; valueEncoding: 'view' },
  ) => {
    put(key: string, value: Uint8Array, options: { sync: true }): Promise<void>
    batch(
      operations: readonly { type: 'put'; key: string; value: Uint8Array }[],
      options: { sync: true },
    ): Promise<void>
    close(): Promise<void>
  }
}

async function level(context: Context): Promise<LogKind | null> {
  const found = await optional<LevelPackage>(context, 'level')
  if (found === null) return null
  return {
    name: 'level',
    durability: 'sync: true; grouped: one batch',
    async open(path) {
      const database = new found.Level(path, { keyEncoding: 'utf8', valueEncoding: 'view' })
      let count = 0
      const next = (): string => String(count++).padStart(10, '0')
      return {
        append: (entry) => database.put(next(), entry, { sync: true }),
        appendAll: (entries) =>
          database.batch(
            entries.map((value) => ({ type: 'put', key: next(), value })),
            { sync: true },
          ),
        close: () => database.close(),
      }
    },
  }
}

/** Those that are installed, holdfast first; and what is not. */
export async function logKinds(context: Context): Promise<{ kinds: LogKind[]; skipped: string[] }> {
  const kinds = [holdfast, appendedFile]
  const skipped: string[] = []
  for (const [name, make] of Object.entries({ 'better-sqlite3': sqlite, lmdb, level })) {
    const kind = await make(context)
    if (kind !== null && (await works(kind, join(context.scratch, `try-${name}`)))) kinds.push(kind)
    else skipped.push(`${name}: not installed, or it does not work here`)
  }
  return { kinds, skipped }
}

/** A package can be there without the addon that it loads when it is first used. */
async function works(kind: LogKind, path: string): Promise<boolean> {
  try {
    const log = await kind.open(path)
    await log.append(new Uint8Array(8))
    await log.close()
    return true
  } catch {
    return false
  }
}
