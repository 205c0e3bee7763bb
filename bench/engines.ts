import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { create, insert, save } from '@orama/orama'
import MiniSearch from 'minisearch'
import { fixed } from '../src/index.ts'
import { pickWord, random, vocabulary } from './data.ts'
import { type Context, optional } from './group.ts'
import { log } from './measure.ts'

/** Saves of one engine, oldest first: each made from the one before by a change that engines go through every day. */
export interface EngineSeries {
  name: string
  change: string
  /** `fixed(4096)` for page files, as the documentation advises; undefined is the default. */
  pages: boolean
  generations: Uint8Array[]
}

const GENERATIONS = 6

interface Document {
  id: number
  title: string
  body: string
}

function documents(count: number, from = 0): Document[] {
  const words = vocabulary(50_000)
  const next = random(11 + from)
  return Array.from({ length: count }, (_, i) => {
    let body = ''
    for (let n = 0; n < 30; n++) body += `${pickWord(words, next)} `
    return { id: from + i, title: `${pickWord(words, next)} ${pickWord(words, next)}`, body }
  })
}

function miniSearch(base: number, step: number, count: number): Uint8Array[] {
  const engine = new MiniSearch<Document>({ fields: ['title', 'body'], storeFields: ['title'] })
  return grow(
    base,
    step,
    count,
    (docs) => engine.addAll(docs),
    () => Buffer.from(JSON.stringify(engine)),
  )
}

async function orama(base: number, step: number, count: number): Promise<Uint8Array[]> {
  const engine = create({ schema: { title: 'string', body: 'string' } as const })
  const saves: Uint8Array[] = []
  for (let i = 0, from = 0; i < count; i++) {
    const docs = documents(i === 0 ? base : step, from)
    for (const { id, ...doc } of docs) await insert(engine, { id: String(id), ...doc })
    from += docs.length
    saves.push(Buffer.from(JSON.stringify(save(engine))))
  }
  return saves
}

function grow(
  base: number,
  step: number,
  count: number,
  add: (docs: Document[]) => void,
  save: () => Uint8Array,
): Uint8Array[] {
  const saves: Uint8Array[] = []
  for (let i = 0, from = 0; i < count; i++) {
    const docs = documents(i === 0 ? base : step, from)
    add(docs)
    from += docs.length
    saves.push(save())
  }
  return saves
}

interface Usearch {
  Index: new (options: {
    metric: string
    connectivity: number
    dimensions: number
  }) => { add(keys: BigUint64Array, vectors: Float32Array, threads: number): void; save(path: string): void }
}

/** One thread: with more the graph is another one each time. */
function usearch(module: Usearch, path: string, base: number, step: number, count: number): Uint8Array[] {
  const dimensions = 256
  const engine = new module.Index({ metric: 'l2sq', connectivity: 16, dimensions })
  const next = random(13)
  const saves: Uint8Array[] = []
  for (let i = 0, from = 0; i < count; i++) {
    const added = i === 0 ? base : step
    const keys = BigUint64Array.from({ length: added }, (_, n) => BigInt(from + n))
    const values = Float32Array.from({ length: added * dimensions }, () => next() / 2 ** 31 - 1)
    engine.add(keys, values, 1)
    from += added
    engine.save(path)
    saves.push(readFileSync(path))
  }
  return saves
}

interface Sqlite {
  new (
    path: string,
  ): { exec(sql: string): void; prepare(sql: string): { run(...args: unknown[]): void }; close(): void }
}

function sqlite(
  Database: Sqlite,
  path: string,
  base: number,
  step: number,
  count: number,
  change: 'add' | 'update',
): Uint8Array[] {
  const database = new Database(path)
  database.exec('CREATE VIRTUAL TABLE docs USING fts5(title, body)')
  const add = database.prepare('INSERT OR REPLACE INTO docs (rowid, title, body) VALUES (?, ?, ?)')
  const next = random(17)
  const saves: Uint8Array[] = []
  for (let i = 0, from = 0; i < count; i++) {
    database.exec('BEGIN')
    for (const doc of documents(i === 0 ? base : step, from)) {
      const id = i === 0 || change === 'add' ? doc.id : next() % base
      add.run(id + 1, doc.title, doc.body)
    }
    database.exec('COMMIT')
    from += i === 0 ? base : step
    saves.push(readFileSync(path))
  }
  database.close()
  return saves
}

/** The series that this machine can make; `skipped` says which it cannot. */
export async function engineSeries(context: Context): Promise<{ series: EngineSeries[]; skipped: string[] }> {
  const scale = context.quick ? 0.1 : 1
  const base = Math.round(20_000 * scale)
  const step = Math.round(base / 100)
  const skipped: string[] = []
  const found: EngineSeries[] = []
  async function add(
    name: string,
    change: string,
    pages: boolean,
    make: () => Uint8Array[] | Promise<Uint8Array[]>,
  ): Promise<void> {
    found.push({ name, change, pages, generations: await cached(context, `${name}-${change}-${base}`, make) })
  }
  await add('MiniSearch', '1 % more documents', false, () => miniSearch(base, step, GENERATIONS))
  if (!context.quick) await add('Orama', '1 % more documents', false, () => orama(base, step, GENERATIONS))
  const vectorEngine = await optional<Usearch>(context, 'usearch')
  if (vectorEngine === null) skipped.push('usearch: not installed')
  else {
    const vectors = Math.round(base / 2)
    await add('usearch', '1 % more vectors', false, () =>
      usearch(vectorEngine, join(context.scratch, 'usearch.bin'), vectors, Math.round(vectors / 100), GENERATIONS),
    )
  }
  const Database = await optional<Sqlite>(context, 'better-sqlite3')
  if (Database === null) skipped.push('SQLite FTS5: better-sqlite3 is not installed')
  else {
    for (const [change, text] of [
      ['add', '1 % more documents'],
      ['update', '1 % of the documents replaced'],
    ] as const) {
      if (context.quick && change === 'update') continue
      await add('SQLite FTS5', text, true, () =>
        sqlite(Database, join(context.scratch, `fts-${change}.db`), base, step, GENERATIONS, change),
      )
    }
  }
  return { series: found, skipped }
}

export function chunkingOf(series: { pages: boolean }) {
  return series.pages ? { chunking: fixed(4096) } : {}
}

/** One save of a real engine. */
export async function engineFile(context: Context): Promise<{ name: string; bytes: Uint8Array }> {
  const documents = context.quick ? 10_000 : 60_000
  const [bytes] = await cached(context, `MiniSearch-save-${documents}`, () => miniSearch(documents, 0, 1))
  return { name: 'a saved MiniSearch index', bytes: bytes! }
}

async function cached(
  context: Context,
  name: string,
  make: () => Uint8Array[] | Promise<Uint8Array[]>,
): Promise<Uint8Array[]> {
  const file = join(context.cache, `${name.replaceAll(/[^\w-]+/g, '-')}.bin`)
  try {
    return unpack(readFileSync(file))
  } catch {
    log(`making ${name}`)
    const saves = await make()
    mkdirSync(context.cache, { recursive: true })
    writeFileSync(`${file}.tmp`, pack(saves))
    renameSync(`${file}.tmp`, file)
    return saves.map((bytes) => Uint8Array.from(bytes))
  }
}

function pack(saves: readonly Uint8Array[]): Uint8Array {
  const lengths = Buffer.from(`${JSON.stringify(saves.map(({ length }) => length))}\n`)
  return Buffer.concat([lengths, ...saves])
}

function unpack(bytes: Buffer): Uint8Array[] {
  const start = bytes.indexOf('\n') + 1
  let at = start
  return (JSON.parse(bytes.toString('utf8', 0, start)) as number[]).map((length) => {
    at += length
    // A copy, so that 1 GiB of it is not kept for one save, and that it may be written to.
    return Uint8Array.from(bytes.subarray(at - length, at))
  })
}
