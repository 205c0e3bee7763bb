import { mkdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { openStore } from 'holdfast'
import { persistEngine, restoreEngine } from 'holdfast/engines'
import { autosave, startEngine } from 'holdfast/engines/autosave'
import { sqlite } from 'holdfast/engines/sqlite'
import { collectDocuments } from '../demo/documents.ts'
import { loadDriver } from './database.ts'

// A full-text index in SQLite. Its file survives a killed process by itself; what it does not survive is being deleted,
// overwritten or damaged. Snapshots of the database in use, made in the background, keep what it was, and of each only
// the pages that changed.

const driver = loadDriver()
const directory = process.env.PASSAGES_DB ?? join(tmpdir(), 'holdfast-sqlite-fts')
const path = join(directory, 'live.sqlite')
mkdirSync(directory, { recursive: true })

// Restored databases are put at `path`; what is there is kept as `live.sqlite.old`.
const adapter = sqlite((path) => driver.open(path), { ...driver.options, path, options: { schema: 1 } })
const store = await openStore(join(directory, 'snapshots'), { keepLast: 3 })

const { engine: database, restored } = await startEngine(store, adapter, {
  create() {
    rmSync(path, { force: true })
    const created = driver.open(path)
    created.exec('PRAGMA journal_mode = WAL; CREATE VIRTUAL TABLE passages USING fts5(title, text)')
    return created
  },
})
const count = (): number => (database.prepare('SELECT count(*) AS n FROM passages').get() as { n: number }).n
console.log(
  restored ? `${count()} passages restored from ${directory}, by ${driver.name}.` : `Nothing in ${directory} yet.`,
)

await restored?.dispose()

const query = 'SELECT title FROM passages WHERE passages MATCH ? ORDER BY rank, rowid LIMIT 3'
const search = (words: string, from = database): string[] =>
  (from.prepare(query).all(words) as { title: string }[]).map(({ title }) => title)

// ---- an index that is saved while it is written

if (restored === null) {
  const { documents } = collectDocuments('node_modules')
  const saver = autosave(store, adapter, database, { everyMs: 200, quietLimitMs: 200, restored })
  const insert = database.prepare('INSERT INTO passages (title, text) VALUES (?, ?)')
  const some = documents.slice(0, Number(process.env.PASSAGES ?? 2000))
  for (let n = 0; n < some.length; n += 50) {
    database.exec('BEGIN')
    for (const { title, text } of some.slice(n, n + 50)) insert.run(title, text)
    database.exec('COMMIT')
    saver.changed(50)
    await setImmediate()
  }
  await saver.close()
  console.log(
    `${count()} passages indexed by ${driver.name}, and saved on the way; snapshots so far: ${(await store.snapshots()).length}.`,
  )
}

// ---- one change

database.prepare('INSERT INTO passages (title, text) VALUES (?, ?)').run('a note', 'kelp holds fast to the rock')
const { sequence, bytes } = await persistEngine(store, adapter, database)
console.log(`One passage more, in snapshot ${sequence}: ${bytes.written} of ${bytes.total} bytes are new.`)
const before = [search('kelp'), search('error AND file')]
console.log(`"kelp" is in: ${before[0]!.join(', ')}. "error" and "file" are in: ${before[1]!.join(', ')}.`)

// ---- the database is gone

database.close()
for (const end of ['', '-wal', '-shm']) rmSync(`${path}${end}`, { force: true })
const again = (await restoreEngine(store, adapter, { required: true }))!
if (JSON.stringify([search('kelp', again.engine), search('error AND file', again.engine)]) !== JSON.stringify(before)) {
  throw new Error('the restored database gives other answers')
}
console.log('Its file was deleted, and restored: the same answers. Run it again to go on from there.')
await again.dispose()
again.engine.close()
await store.close()
