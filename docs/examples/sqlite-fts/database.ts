import { createRequire } from 'node:module'
import type { SqliteAdapterOptions, SqliteLike } from 'holdfast/engines/sqlite'

/** What the example calls of SQLite; better-sqlite3 and `node:sqlite` both have it. */
export interface Database extends SqliteLike {
  exec(sql: string): unknown
  prepare(sql: string): {
    get(...values: unknown[]): unknown
    all(...values: unknown[]): unknown[]
    run(...values: unknown[]): unknown
  }
  close(): void
}

export interface Driver {
  name: string
  open(path: string): Database
  options: SqliteAdapterOptions<Database>
}

type Class = new (path: string) => Database

/**
 * That of Node itself where it is there, with its backup (22.16 and later); else better-sqlite3, which is in
 * `bench/engines/`.
 */
export function loadDriver(): Driver {
  const builtIn = process.getBuiltinModule?.('node:sqlite') as unknown as
    | { DatabaseSync: Class; backup?: SqliteAdapterOptions<Database>['backup'] }
    | undefined
  if (builtIn?.backup !== undefined) {
    const { DatabaseSync, backup } = builtIn
    return { name: 'node:sqlite', open: (path) => new DatabaseSync(path), options: { backup } }
  }
  try {
    const require = createRequire(new URL('../../../../bench/engines/package.json', import.meta.url))
    const Better = require('better-sqlite3') as Class
    new Better(':memory:').close()
    return { name: 'better-sqlite3', open: (path) => new Better(path), options: {} }
  } catch (error) {
    console.error(`SQLite cannot be used here: ${String(error).split('\n')[0]}`)
    return process.exit(2)
  }
}
