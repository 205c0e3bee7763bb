// The adapter for SQLite. It saves a database with SQLite's own online backup, which includes the write-ahead log, as
// one blob `database`. A chunk is one page, because a transaction changes a few pages in place. The engine's version is
// SQLite's version.
//
// The program may write while the backup runs. The backup would then contain those writes, and the data kept alongside
// would not. So the adapter compares the database's change counters before and after. If they differ, the second try
// copies the database in memory in one step.

import { type BlobInput, type Chunking, fixed, HoldfastError } from '../index.ts'
import { privateFile } from '../local/private-directory.ts'
import { putDatabase } from '../local/put-database.ts'
import { advise, advised, captureFileLater, type SavedFile, wholeBytes } from '../local/saved-file.ts'
import { assertOptions } from '../misuse.ts'
import type { EngineAdapter, EngineState, SaveContext } from './adapter.ts'
import { restoring } from './engine-failed.ts'

/**
 * What is called of a database: `Database` of better-sqlite3, `DatabaseSync` of `node:sqlite`, and what is like them.
 */
export interface SqliteLike {
  prepare(sql: string): { get(): unknown }
  backup?(path: string, options: { progress(progress: unknown): number }): Promise<unknown>
  serialize?(): Uint8Array
  close?(): void
  /** better-sqlite3. */
  readonly inTransaction?: boolean
  /** `node:sqlite`. */
  readonly isTransaction?: boolean
}

/** How a database is copied and where a restored one is put. */
export interface SqliteAdapterOptions<Database> {
  /** The function `backup` of `node:sqlite`; a database of better-sqlite3 has its own. */
  backup?: ((database: Database, path: string, options: { rate: number }) => Promise<unknown>) | undefined
  /**
   * Where a restored database is put, durably; behind it, if it is a link. What is there is kept beside it as
   * `<path>.old`, with its log. A crash meanwhile leaves the one before or the restored one; where the one before has a
   * log beside it, perhaps none: restore again. Nobody may have it open. Default: a private file, removed when the
   * process exits.
   */
  path?: string | undefined
  /** What must be equal on save and restore: the number of your schema, say. */
  options?: Record<string, unknown> | undefined
  /**
   * Where the backup is for a moment, as large as the database. Default `os.tmpdir()`, or the store's `tmp/` where that
   * is full or read-only.
   */
  temporaryDirectory?: string | undefined
}

/** Pages copied in one turn of the event loop. */
const PAGES_A_TURN = 256
const ALL_PAGES = 2 ** 31 - 1
/** Larger ones are not copied in memory. */
const SERIALIZED_BYTES_MAX = 2 ** 30
const CHUNK_BYTES_MIN = 4096

/**
 * Saves and restores an SQLite database: `sqlite((path) => new Database(path))`, the function opening what was
 * restored.
 */
export function sqlite<Database extends SqliteLike>(
  open: (path: string) => Database | Promise<Database>,
  options: SqliteAdapterOptions<Database> = {},
): EngineAdapter<Database> {
  assertOptions('sqlite', options, { backup: 'function', path: 'any', options: 'any', temporaryDirectory: 'any' })
  if (typeof open !== 'function') throw new TypeError('sqlite: give a function that opens the database at a path')
  const { backup, path, temporaryDirectory } = options

  /** Copies the database into `to` by and by; the event loop turns. */
  async function copy(database: Database, to: string, { attempt, signal }: SaveContext): Promise<void> {
    const before = revisionOf(database)
    const pages = attempt > 1 ? ALL_PAGES : PAGES_A_TURN
    if (backup !== undefined) await backup(database, to, { rate: attempt > 1 ? -1 : PAGES_A_TURN })
    else if (typeof database.backup === 'function') {
      await database.backup(to, {
        progress() {
          signal?.throwIfAborted()
          if (revisionOf(database) !== before) throw changed('it was written to during its backup')
          return pages
        },
      })
    } else {
      throw new TypeError('sqlite: this database has no backup(); give { backup } of node:sqlite')
    }
    if (revisionOf(database) !== before) throw changed('it was written to during its backup')
  }

  /** Removes the private file of a database that was restored for a check. */
  const discards = new WeakMap<Database, () => void>()
  return {
    name: 'sqlite',
    layout: 1,
    options: options.options ?? {},
    async save(database, context) {
      if (database.inTransaction === true || database.isTransaction === true) {
        throw changed('a transaction is open; commit it first')
      }
      const version = ask(database, 'SELECT sqlite_version()')
      if (context.attempt > 1 && typeof database.serialize === 'function') {
        const bytes = Number(ask(database, 'PRAGMA page_count')) * Number(ask(database, 'PRAGMA page_size'))
        if (bytes > 0 && bytes < SERIALIZED_BYTES_MAX) return serialized(database.serialize(), version)
      }
      const file = await captureFileLater(temporaryDirectory ?? context.temporaryDirectory, (to) =>
        copy(database, to, context),
      )
      return await stored(file, version)
    },
    async restore(saved, { signal, check, temporaryDirectory: room }) {
      const option = 'the function that opens the database'
      const opened = (at: string): Promise<Database> =>
        restoring(saved, { engine: 'sqlite', option, signal }, () => open(at))
      const blob = saved.blob('database')
      if (path !== undefined && check !== true) {
        await putDatabase(path, (to) => blob.writeTo(to, { signal }))
        return await opened(path)
      }
      const directory = temporaryDirectory ?? room
      const { path: to, discard } = advise(directory, () => privateFile(directory, 'database.sqlite'))
      try {
        await blob.writeTo(to, { signal }).catch((error: unknown) => {
          throw advised(directory, error)
        })
        const database = await opened(to)
        if (check === true) discards.set(database, discard)
        return database
      } catch (error) {
        discard()
        throw error
      }
    },
    close(database) {
      database.close?.()
      discards.get(database)?.()
    },
    revision: revisionOf,
  }
}

function changed(why: string): HoldfastError {
  return new HoldfastError('SOURCE_CHANGED', `the SQLite database cannot be saved just now: ${why}`, {
    details: { why },
  })
}

/** The one value that a query gives. */
function ask(database: SqliteLike, sql: string): string {
  const row = database.prepare(sql).get()
  return String(Object.values(row as object)[0])
}

const databaseNumbers = new WeakMap<object, number>()
let lastDatabaseNumber = 0

/**
 * Every change moves one of these: rows changed through this connection, commits of others, the schema, and the two
 * numbers of the header that are a program's own.
 */
function revisionOf(database: SqliteLike): string {
  let number = databaseNumbers.get(database)
  if (number === undefined) {
    lastDatabaseNumber += 1
    number = lastDatabaseNumber
    databaseNumbers.set(database, number)
  }
  const counters = [
    'SELECT total_changes()',
    'PRAGMA data_version',
    'PRAGMA schema_version',
    'PRAGMA user_version',
    'PRAGMA application_id',
  ]
  return [number, ...counters.map((sql) => ask(database, sql))].join()
}

// ---- the blob

function stateOf(source: BlobInput, header: Uint8Array, version: string): EngineState {
  return {
    captured: true,
    version,
    blobs: { database: { source: source as Uint8Array, chunking: pages(header), type: 'application/vnd.sqlite3' } },
  }
}

/**
 * A page is a chunk; small pages go together. Of an encrypted database, whose header tells nothing, those of SQLite's
 * default.
 */
function pages(header: Uint8Array): Chunking {
  const isPlain = Buffer.from(header.subarray(0, 15)).toString('latin1') === 'SQLite format 3'
  const told = isPlain ? header[16]! * 256 + header[17]! : 0
  const bytes = told === 1 ? 65_536 : told
  return fixed(Math.max(bytes, CHUNK_BYTES_MIN))
}

const HEADER_BYTES = 100

async function stored(file: SavedFile, version: string): Promise<EngineState> {
  const release = (): Promise<void> => file.release()
  try {
    const header = Buffer.alloc(HEADER_BYTES)
    await file.read(header, 0)
    return { ...stateOf(wholeBytes(file), header, version), release }
  } catch (error) {
    await release()
    throw error
  }
}

/** In the header, a backup has 1 for the schema's version and for the number of changes: as if it were one. */
function serialized(database: Uint8Array, version: string): EngineState {
  const view = new DataView(database.buffer, database.byteOffset, database.byteLength)
  if (database.length >= HEADER_BYTES && String.fromCharCode(...database.subarray(0, 15)) === 'SQLite format 3') {
    for (const at of [24, 40, 92]) view.setUint32(at, 1)
  }
  return stateOf(database, database, version)
}
