import { closeSync, copyFileSync, fsyncSync, mkdtempSync, openSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { plain } from '../../src/engines/plain.ts'
import { type SqliteLike, sqlite } from '../../src/engines/sqlite.ts'
import { fixed } from '../../src/index.ts'
import type { TextDocument } from './corpus.ts'
import { ofText } from './documents.ts'
import { absent, nativeEngine } from './native.ts'
import { type Absent, KIB, type Scale, type Subject, type Subjects, withChunks } from './subject.ts'

interface Database extends SqliteLike {
  exec(sql: string): unknown
  prepare(sql: string): { get(...values: unknown[]): unknown; run(...values: unknown[]): unknown }
}

type Backup = (database: Database, path: string) => Promise<unknown>

interface Driver {
  open(path: string): Database
  backup: Backup
  /** Where a database has no `backup` of its own. */
  options: { backup?: Backup }
}

/**
 * better-sqlite3; or where its binary is of another version of Node, the SQLite that Node has itself. Null: there is
 * neither.
 */
function driverOf(root: string): Driver | null {
  const found = nativeEngine<new (path: string) => Database & { backup(path: string): Promise<unknown> }>(
    root,
    'better-sqlite3',
  )
  try {
    if (found !== null) {
      const { module: BetterSqlite } = found
      new BetterSqlite(':memory:')
      return {
        open: (path) => new BetterSqlite(path),
        backup: async (database, path) => await (database as InstanceType<typeof BetterSqlite>).backup(path),
        options: {},
      }
    }
  } catch {
    // Its binary is of one version of Node.
  }
  const builtin = process.getBuiltinModule?.('node:sqlite') as
    | { DatabaseSync: new (path: string) => Database; backup?: Backup }
    | undefined
  if (builtin?.backup === undefined) return null
  const { DatabaseSync, backup } = builtin
  return { open: (path) => new DatabaseSync(path), backup, options: { backup } }
}

let directory: string | undefined
let files = 0

/** Where no file is yet; gone when the process ends. */
function newPath(): string {
  if (directory === undefined) {
    const made = mkdtempSync(join(tmpdir(), 'holdfast-adapters-sqlite-'))
    process.on('exit', () => rmSync(made, { recursive: true, force: true }))
    directory = made
  }
  files += 1
  return join(directory, `${files}.sqlite`)
}

function inTransaction<Item>(
  database: Database,
  sql: string,
  items: readonly Item[],
  values: (item: Item) => unknown[],
) {
  const statement = database.prepare(sql)
  database.exec('BEGIN')
  for (const item of items) statement.run(...values(item))
  database.exec('COMMIT')
}

function insert(database: Database, documents: readonly TextDocument[]): void {
  const sql = 'INSERT INTO documents (rowid, title, text) VALUES (?, ?, ?)'
  inTransaction(database, sql, documents, ({ id, title, text }) => [id + 1, title, text])
}

function sqliteSubject(scale: Scale): Subject<Database> | Absent {
  const driver = driverOf(scale.root)
  if (driver === null) return absent('SQLite FTS5')
  const { open, backup, options } = driver
  const version = (): string => {
    const row = open(':memory:').prepare('SELECT sqlite_version() AS version').get() as { version: string }
    return row.version
  }
  const adapter = { ...sqlite(open, options), version: version() }
  return ofText<Database>(
    {
      name: 'SQLite FTS5',
      layout: 'a backup, in pages',
      create(documents) {
        const database = open(newPath())
        database.exec('PRAGMA journal_mode = WAL; CREATE VIRTUAL TABLE documents USING fts5(title, text)')
        insert(database, documents)
        return database
      },
      add: insert,
      update(database, documents) {
        const sql = 'UPDATE documents SET text = ? WHERE rowid = ?'
        inTransaction(database, sql, documents, ({ id, text }) => [text, id + 1])
      },
      remove(database, documents) {
        inTransaction(database, 'DELETE FROM documents WHERE rowid = ?', documents, ({ id }) => [id + 1])
      },
      adapter,
      restoring: { ...sqlite(open, { ...options, path: newPath() }), version: version() },
      own: {
        what: 'backup; a copy, opened',
        save: async (database, directory) => {
          await backup(database, join(directory, 'database.sqlite'))
        },
        async load(directory) {
          const path = newPath()
          copyFileSync(join(directory, 'database.sqlite'), path)
          return open(path)
        },
        async loadDurably(directory) {
          const path = newPath()
          copyFileSync(join(directory, 'database.sqlite'), path)
          for (const each of [path, dirname(path)]) {
            const file = openSync(each, 'r')
            fsyncSync(file)
            closeSync(file)
          }
          return open(path)
        },
      },
      tried: [
        {
          layout: 'VACUUM INTO, in pages',
          adapter: plain<Database>({
            name: 'vacuum',
            save: (database) => ({
              blobs: {
                database: {
                  source: (path) => database.exec(`VACUUM INTO '${path}'`),
                  chunking: fixed(4 * KIB),
                },
              },
            }),
            restore() {
              throw new Error('not measured')
            },
          }),
        },
        ...[4, 16].map((kib) => ({
          layout: `a backup, ${kib} KiB, cut by content`,
          adapter: withChunks(adapter, kib * KIB),
        })),
      ],
    },
    scale,
  )
}

export const sqliteSubjects: Subjects = (scale) => [sqliteSubject(scale) as never]
