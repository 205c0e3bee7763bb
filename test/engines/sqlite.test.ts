import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { persistEngine, restoreEngine, type SaveContext } from '../../src/engines/adapter.ts'
import { engineConformance } from '../../src/engines/conformance.ts'
import { type SqliteAdapterOptions, type SqliteLike, sqlite } from '../../src/engines/sqlite.ts'
import { memory } from '../../src/index.ts'
import { builtIn, nativeEngine, skipVisibly } from './native.ts'
import { QUERIES, textDocument } from './text.ts'

interface Database extends SqliteLike {
  exec(sql: string): unknown
  prepare(sql: string): {
    get(...values: unknown[]): unknown
    all(...values: unknown[]): unknown[]
    run(...values: unknown[]): unknown
  }
  close(): void
}

interface Driver {
  open(path: string): Database
  options: SqliteAdapterOptions<Database>
}

const scratch = mkdtempSync(join(tmpdir(), 'holdfast-sqlite-'))
afterAll(() => rmSync(scratch, { recursive: true, force: true }))

const drivers: Record<string, Driver> = {}
const BetterSqlite = nativeEngine<new (path: string) => Database>('better-sqlite3')
try {
  // Its binary is of one Node version, and is looked for only now.
  new BetterSqlite!(':memory:').close()
  drivers['better-sqlite3'] = { open: (path) => new BetterSqlite!(path), options: {} }
} catch {
  skipVisibly('better-sqlite3', '`npm run engines` first')
}
const NodeSqlite = builtIn<{
  DatabaseSync: new (path: string) => Database
  backup?: SqliteAdapterOptions<Database>['backup']
}>('node:sqlite')
if (NodeSqlite?.backup === undefined) skipVisibly('node:sqlite', 'this Node has no backup of its own (22.16 has)')
else {
  const { DatabaseSync, backup } = NodeSqlite
  drivers['node:sqlite'] = { open: (path) => new DatabaseSync(path), options: { backup } }
}

const SCHEMA = 'CREATE VIRTUAL TABLE IF NOT EXISTS notes USING fts5(title, text)'

function write(database: Database, sql: string, first: number, count: number, change = 0): void {
  const statement = database.prepare(sql)
  database.exec('BEGIN')
  for (let n = first; n < first + count; n++) {
    const { title, text } = textDocument(n, change)
    statement.run(...(sql.startsWith('DELETE') ? [n] : [title, text, n]))
  }
  database.exec('COMMIT')
}

const add = (database: Database, first: number, count: number): void =>
  write(database, 'INSERT INTO notes (title, text, rowid) VALUES (?, ?, ?)', first, count)

function answers(database: Database): unknown {
  const match = database.prepare(
    'SELECT rowid, title, rank FROM notes WHERE notes MATCH ? ORDER BY rank, rowid LIMIT 50',
  )
  return [
    QUERIES.map((query) => match.all(`"${query.replaceAll(' ', '" OR "')}"`).map((row) => ({ ...(row as object) }))),
    { ...(database.prepare('SELECT count(*) AS n FROM notes').get() as object) },
    Object.values(database.prepare('PRAGMA integrity_check').get() as object),
  ]
}

describe.each(Object.entries(drivers))('%s', (_name, { open, options }) => {
  let opened = 0
  function create(setup = ''): Database {
    opened += 1
    const database = open(join(scratch, `live-${process.pid}-${opened}.db`))
    database.exec(`${setup}; ${SCHEMA}`)
    return database
  }

  for (const { name, run } of engineConformance<Database>({
    adapter: sqlite(open, options),
    others: [sqlite(open, { ...options, options: { schema: 2 } })],
    create,
    add,
    update: (database, first, count) =>
      write(database, 'UPDATE notes SET title = ?, text = ? WHERE rowid = ?', first, count, 1),
    remove: (database, first, count) => write(database, 'DELETE FROM notes WHERE rowid = ?', first, count),
    answers,
    close: (database) => database.close(),
    large: 2000,
  })) {
    test(name, run)
  }

  for (const setup of ['', 'PRAGMA journal_mode = WAL', 'PRAGMA page_size = 1024', 'PRAGMA page_size = 65536']) {
    test(`keeps a database as pages, with what is in its log: ${setup || 'as it is'}`, async () => {
      const database = create(setup)
      add(database, 0, 300)
      const store = memory()
      await persistEngine(store, sqlite(open, options), database)
      const { engine, snapshot } = (await restoreEngine(store, sqlite(open, options)))!
      const size = Number(/\d+$/.exec(setup)?.[0] ?? 4096)
      expect(snapshot.blob('engine/database').chunking).toEqual({ kind: 'fixed', size: Math.max(size, 4096) })
      expect(answers(engine)).toEqual(answers(database))
      add(engine, 300, 10)
      expect(answers(engine)).not.toEqual(answers(database))
      await snapshot.dispose()
      engine.close()
      database.close()
    })
  }

  test('keeps a database in memory, and one with nothing in it', async () => {
    const store = memory()
    const database = open(':memory:')
    await persistEngine(store, sqlite(open, options), database)
    const empty = (await restoreEngine(store, sqlite(open, options)))!.engine
    expect(empty.prepare('SELECT count(*) AS n FROM sqlite_schema').get()).toMatchObject({ n: 0 })
    database.exec(SCHEMA)
    add(database, 0, 20)
    await persistEngine(store, sqlite(open, options), database)
    expect(answers((await restoreEngine(store, sqlite(open, options)))!.engine)).toEqual(answers(database))
  })

  test('writes little after a hundredth was added, updated or deleted', async () => {
    const adapter = sqlite(open, options)
    const written = async (change: (database: Database) => void): Promise<number> => {
      const database = create()
      add(database, 0, 3000)
      const store = memory({ compression: 'none' })
      const { bytes } = await persistEngine(store, adapter, database)
      change(database)
      const second = await persistEngine(store, adapter, database)
      database.close()
      return second.bytes.written / bytes.total
    }
    expect(await written((database) => add(database, 3000, 30))).toBeLessThan(0.1)
    const updated = await written((database) =>
      write(database, 'UPDATE notes SET title = ?, text = ? WHERE rowid = ?', 1000, 30, 1),
    )
    expect(updated).toBeLessThan(0.15)
    expect(await written((database) => write(database, 'DELETE FROM notes WHERE rowid = ?', 1000, 30))).toBeLessThan(
      0.15,
    )
    expect(await written(() => {})).toBe(0)
  })

  test('what is kept alongside is of the same moment, in a database that is written to all the time', async () => {
    const database = create('PRAGMA journal_mode = WAL')
    add(database, 0, 2000)
    let count = 2000
    let saving = true
    const store = memory()
    const save = persistEngine(store, sqlite(open, options), database, {
      alongside: () => ({ metadata: { count } }),
      attempts: 10,
    }).finally(() => {
      saving = false
    })
    while (saving) {
      add(database, count, 1)
      count += 1
      // node:sqlite copies in a thread of its own, which has to come to it between two writes.
      for (let n = 0; n < 5; n++) await setImmediate()
      await new Promise((resolve) => setTimeout(resolve, 5))
    }
    await save
    const { engine, snapshot } = (await restoreEngine(store, sqlite(open, options)))!
    const found = engine.prepare('SELECT count(*) AS n FROM notes').get() as { n: number }
    expect(found.n).toBe(snapshot.metadata.count)
    engine.close()
    database.close()
  })

  test('does not save in the middle of a transaction', async () => {
    const database = create()
    database.exec('BEGIN; CREATE TABLE half (a)')
    const store = memory()
    const saving = persistEngine(store, sqlite(open, options), database)
    await expect(saving).rejects.toMatchObject({ code: 'SOURCE_CHANGED' })
    database.exec('COMMIT')
    await persistEngine(store, sqlite(open, options), database)
    database.close()
  })

  test('its revision moves with every kind of change, also of another connection', () => {
    const path = join(scratch, `revision-${process.pid}-${opened++}.db`)
    const [mine, other] = [open(path), open(path)]
    const { revision } = sqlite(open, options)
    const changes: (() => unknown)[] = [
      () => mine.exec('CREATE TABLE t (a)'),
      () => mine.exec('INSERT INTO t VALUES (1)'),
      () => mine.exec('UPDATE t SET a = 2'),
      () => mine.exec('DELETE FROM t WHERE a = 2'),
      () => mine.exec('PRAGMA user_version = 3'),
      () => mine.exec('PRAGMA application_id = 3'),
      () => other.exec('INSERT INTO t VALUES (5)'),
      () => mine.exec('DROP TABLE t'),
    ]
    const seen = new Set([revision!(mine)])
    for (const change of changes) {
      change()
      const now = revision!(mine)
      expect(seen.has(now)).toBe(false)
      expect(revision!(mine)).toBe(now)
      seen.add(now)
    }
    expect(revision!(other)).not.toBe(revision!(mine))
    mine.close()
    other.close()
  })

  test('restores to a path, and keeps what was there, with its log', async () => {
    const path = join(mkdtempSync(join(scratch, 'place-')), 'live.db')
    const adapter = sqlite(open, { ...options, path })
    const store = memory()
    const database = create()
    add(database, 0, 50)
    await persistEngine(store, adapter, database)
    const first = (await restoreEngine(store, adapter))!.engine
    expect(answers(first)).toEqual(answers(database))
    first.close()
    expect(readdirSync(dirname(path))).toEqual(['live.db'])
    const before = readFileSync(path)
    // As a process that was killed leaves it.
    writeFileSync(`${path}-wal`, 'the log of another time')
    writeFileSync(`${path}.old-shm`, 'of a time before that')
    const second = (await restoreEngine(store, adapter))!.engine
    expect(answers(second)).toEqual(answers(database))
    second.close()
    expect(readdirSync(dirname(path)).sort()).toEqual(['live.db', 'live.db.old', 'live.db.old-wal'])
    expect(readFileSync(`${path}.old`).equals(before)).toBe(true)
    database.close()
  })

  test('does not touch what is at the path when the snapshot cannot be read', async () => {
    const path = join(mkdtempSync(join(scratch, 'place-')), 'live.db')
    writeFileSync(path, 'in use')
    const adapter = sqlite(open, { ...options, path })
    const store = memory()
    const database = create()
    await persistEngine(store, adapter, database)
    database.close()
    await expect(restoreEngine(store, adapter, { signal: AbortSignal.abort(new Error('enough')) })).rejects.toThrow(
      'enough',
    )
    expect(readFileSync(path, 'utf8')).toBe('in use')
    expect(readdirSync(dirname(path))).toEqual(['live.db'])
  })

  test('leaves no temporary file behind', async () => {
    const temporaryDirectory = mkdtempSync(join(scratch, 'temporary-'))
    const adapter = sqlite(open, { ...options, temporaryDirectory })
    const database = create()
    const store = memory()
    await persistEngine(store, adapter, database)
    expect(readdirSync(temporaryDirectory)).toEqual([])
    const cannotOpen = sqlite<Database>(
      () => {
        throw new Error('it does not open')
      },
      { ...options, temporaryDirectory },
    )
    await expect(restoreEngine(store, cannotOpen)).rejects.toThrow('it does not open')
    expect(readdirSync(temporaryDirectory)).toEqual([])
    // A restored database is private, and removed when the process ends.
    const { engine } = (await restoreEngine(store, adapter))!
    expect(readdirSync(temporaryDirectory)).toHaveLength(1)
    engine.close()
    database.close()
    await expect(persistEngine(store, adapter, database)).rejects.toThrow()
    expect(readdirSync(temporaryDirectory)).toHaveLength(1)
  })

  test.each(['', 'PRAGMA journal_mode = WAL'])(
    'copied in memory it is the same bytes as its backup: %s',
    async (setup) => {
      const database = create(setup)
      if (database.serialize === undefined) return
      add(database, 0, 100)
      write(database, 'DELETE FROM notes WHERE rowid = ?', 0, 50)
      database.exec('PRAGMA user_version = 7')
      const adapter = sqlite(open, options)
      const store = memory()
      await persistEngine(store, adapter, database)
      const atOnce = {
        ...adapter,
        save: (engine: Database, context: SaveContext) => adapter.save(engine, { ...context, attempt: 2 }),
      }
      expect(await persistEngine(store, atOnce, database)).toMatchObject({ unchanged: true })
      database.close()
    },
  )
})

test('a database without a backup is refused, and says what is missing', async () => {
  const database: SqliteLike = { prepare: () => ({ get: () => ({ value: 1 }) }) }
  const saving = persistEngine(
    memory(),
    sqlite(() => database),
    database,
  )
  await expect(saving).rejects.toThrow('give { backup } of node:sqlite')
})

test('is checked beside the database in use, never in its place, and leaves nothing behind', async () => {
  const temporaryDirectory = mkdtempSync(join(scratch, 'check-'))
  const path = join(mkdtempSync(join(scratch, 'place-')), 'live.db')
  writeFileSync(path, 'in use')
  const opened: string[] = []
  let closed = 0
  // Not SQLite: a file whose backup is a copy.
  const database = (at: string): SqliteLike => ({
    prepare: () => ({ get: () => ({ value: 1 }) }),
    async backup(to, { progress }) {
      progress({})
      writeFileSync(to, readFileSync(at))
    },
    close() {
      closed += 1
    },
  })
  function open(at: string): SqliteLike {
    opened.push(readFileSync(at, 'utf8'))
    return database(at)
  }
  const adapter = sqlite(open, { path, temporaryDirectory })
  await persistEngine(memory(), adapter, database(path), { check: true })
  expect([opened, closed]).toEqual([['in use'], 1])
  expect(readdirSync(dirname(path))).toEqual(['live.db'])
  expect(readdirSync(temporaryDirectory)).toEqual([])
})
