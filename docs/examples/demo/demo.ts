import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { type BlobInput, destroyStore, isHoldfastError, memory, openStore, type Store, type Warning } from 'holdfast'
import { type EngineAdapter, persistEngine, restoreEngine } from 'holdfast/engines'
import MiniSearch from 'minisearch'
import { acknowledgeChanges } from './acknowledge.ts'
import { collectDocuments, type Document } from './documents.ts'
import {
  answers,
  buildText,
  buildVectors,
  type Engine,
  engineAdapter,
  type Hit,
  marker,
  revise,
  searchText,
  searchVectors,
  textOptions,
} from './engine.ts'
import { flipBit, leftovers, listing, newestPack } from './files.ts'
import * as say from './print.ts'
import { DIMENSIONS, loadVectors, type Vectors } from './vectors.ts'
import type { Said } from './writer.ts'

// `npm run demo`: what the package is for, on real input, in under a minute. Every line with a tick was checked by this
// program, which fails when one is untrue.

const nodeModules = resolve('node_modules')
const writer = join(import.meta.dirname, 'writer.js')

/** What the engine answered at each snapshot that was acknowledged, by sequence: the truth to compare with. */
const acknowledged = new Map<number, string>()

async function main(): Promise<void> {
  const startMs = performance.now()
  const { node, platform, arch } = { node: process.version, platform: process.platform, arch: process.arch }
  say.print(
    `${say.bold('holdfast')}: a search engine, its snapshots, and what happens to them ${say.dim(`(Node ${node}, ${platform} ${arch})`)}`,
  )
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-demo-'))
  const path = join(directory, 'search')
  const warnings: Warning[] = []
  try {
    const vectors = findVectors()
    const adapter = engineAdapter(vectors)
    const engine = buildIndex(vectors)
    await using store = await openStore(path, { onWarning: (warning) => warnings.push(warning) })
    await persistIndex(store, path, adapter, engine)
    await changeOneInAHundred(store, adapter, engine)
    const durationMs = await restart(store, path, adapter, engine)
    await killWriters(store, path, adapter, durationMs)
    await acknowledgeChanges(directory, nodeModules, collectDocuments(nodeModules).documents)
    await damageOneByte(store, path, adapter, warnings)
    await destroyStore(path)
  } catch (error) {
    say.print(`\n   ${say.red('✘')} ${error instanceof say.Untrue ? `untrue: ${error.message}` : String(error)}`)
    if (!(error instanceof say.Untrue)) console.error(error)
    say.tell(`The store is left as it is: ${path}`)
    process.exitCode = 1
    return
  }
  rmSync(directory, { recursive: true })
  say.print(`\n   ${say.claimsChecked()} claims, each checked, in ${say.duration(performance.now() - startMs)}.`)
}

function findVectors(): Vectors | null {
  const found = loadVectors(nodeModules, { install: true })
  if (!('missing' in found)) return found
  say.print()
  say.tell(`There is no vector index in this run: usearch cannot be used, ${found.missing}.`)
  return null
}

function buildIndex(vectors: Vectors | null): Engine {
  say.heading('Build an index')
  const { documents, files } = collectDocuments(nodeModules)
  say.tell(`Documents are passages of ${say.number(files)} Markdown and declaration files in node_modules.`)
  const [text, textMs] = timed(() => buildText(documents))
  const rows = [['MiniSearch', `${say.number(text.termCount)} terms`, say.duration(textMs)]]
  let index: Engine['vectors'] = null
  if (vectors !== null) {
    const [built, vectorsMs] = timed(() => buildVectors(documents, vectors))
    index = built
    rows.push([
      `usearch ${vectors.version}`,
      `${say.number(built.size())} vectors of ${DIMENSIONS}`,
      say.duration(vectorsMs),
    ])
  }
  const size = documents.reduce((sum, { text }) => sum + Buffer.byteLength(text), 0)
  say.table([['documents', `${say.number(documents.length)}, ${say.bytes(size)}`, ''], ...rows])
  const engine = { generation: 0, documents, text, vectors: index }
  const query = 'write a file atomically'
  say.tell(`A search for "${query}" finds`)
  say.table([
    ...searchText(engine, query, 3).map((hit) => hitRow('text', hit, documents)),
    ...searchVectors(engine, query, 2).map((hit) => hitRow('vectors', hit, documents)),
  ])
  say.claim(searchText(engine, query, 1).length === 1, 'the index answers')
  return engine
}

function hitRow(index: string, { id, score }: Hit, documents: readonly Document[]): string[] {
  return [index, score.toFixed(2), documents[id]!.title]
}

type Adapter = EngineAdapter<Engine>

async function persistIndex(store: Store, path: string, adapter: Adapter, engine: Engine): Promise<void> {
  say.heading('Persist it')
  const saved = await persistEngine(store, adapter, engine)
  acknowledged.set(saved.sequence, answers(engine))
  const { total, written } = saved.bytes
  say.tell(
    `Text index, documents and vectors are ${say.bytes(total)}; ${say.bytes(written)} were written to ${path},`,
    `as one snapshot, fsynced and acknowledged in ${say.duration(saved.durationMs)}.`,
  )
  const before = listing(path)
  const again = await persistEngine(store, adapter, engine)
  say.claim(
    again.unchanged && again.sequence === saved.sequence,
    `persisted again unchanged: recognised in ${say.duration(again.durationMs)}`,
  )
  say.claim(listing(path) === before, 'and nothing was written: no file but the lock was touched')
}

async function changeOneInAHundred(store: Store, adapter: Adapter, engine: Engine): Promise<void> {
  say.heading('Change one document in a hundred')
  const parts = partStores()
  await parts.persist(await partsOf(adapter, engine))
  const before = postings(engine)
  const revised = revise(engine)
  const touched = [...postings(engine)].filter(([term, list]) => before.get(term) !== list).length
  const saved = await persistEngine(store, adapter, engine)
  acknowledged.set(saved.sequence, answers(engine))
  const { total, written, reused } = saved.bytes
  say.tell(`${say.number(revised)} of ${say.number(engine.documents.length)} documents get new text, in both indexes.`)
  const { json, ...ours } = await parts.persist(await partsOf(adapter, engine))
  say.table([...Object.entries({ ...ours, snapshot: saved.bytes })].map(writtenRow), ['', 'size', 'written', ''])
  say.claim(
    !saved.unchanged && written < total / 2 && reused > 0,
    `${say.bytes(written)} written in ${say.duration(saved.durationMs)}; the rest was there already`,
  )
  say.tell(
    `MiniSearch's own JSON is less incremental: ${say.bytes(json!.written)} of ${say.bytes(json!.total)} are new, because ${say.number(touched)} of`,
    `${say.number(engine.text.termCount)} posting lists changed, and they lie all over it. Its adapter writes a row for each document.`,
  )
}

interface Written {
  total: number
  written: number
}

function writtenRow([name, { total, written }]: [string, Written]): string[] {
  return [name, say.bytes(total), say.bytes(written), say.percent(written, total)]
}

type Blobs = Record<string, BlobInput>

async function saveFile(): Promise<never> {
  throw new Error('this engine saves no file of its own')
}

/** What the engine is saved as, in parts, and for comparison MiniSearch's own JSON. */
async function partsOf(adapter: Adapter, engine: Engine): Promise<Record<string, Blobs>> {
  const { blobs } = await adapter.save(engine, { attempt: 1, turn: () => undefined, saveFile })
  const { passages, vectors, ...text } = Object.fromEntries(Symbol.iterator in blobs ? blobs : Object.entries(blobs))
  const parts = { documents: { passages: passages! }, 'text index': text, json: { json: JSON.stringify(engine.text) } }
  return vectors === undefined ? parts : { ...parts, vectors: { vectors } }
}

/** A store in memory for each part, to see what it writes on its own. */
function partStores() {
  const stores = new Map<string, Store>()
  return {
    async persist(parts: Record<string, Blobs>): Promise<Record<string, Written>> {
      const written: Record<string, Written> = {}
      for (const [name, blobs] of Object.entries(parts)) {
        const store = stores.get(name) ?? memory()
        stores.set(name, store)
        written[name] = (await store.persist({ blobs })).bytes
      }
      return written
    },
  }
}

/** Each term's postings as text. */
function postings(engine: Engine): Map<string, string> {
  return new Map(engine.text.toJSON().index.map(([term, lists]) => [term, JSON.stringify(lists)]))
}

/** A new process restores the engine, revises it and persists it; answers how long it was at that, in ms. */
async function restart(store: Store, path: string, adapter: Adapter, engine: Engine): Promise<number> {
  say.heading('Restart')
  const restored = await restore(store, adapter)
  const again = await persistEngine(store, adapter, restored.engine)
  say.claim(again.unchanged, 'restored and persisted again, the engine is unchanged, and nothing is written')
  const parts = partStores()
  const own = JSON.stringify(engine.text)
  await parts.persist({ json: { json: own } })
  const reloaded = JSON.stringify(MiniSearch.loadJSON<Document>(own, textOptions))
  const { json } = await parts.persist({ json: { json: reloaded } })
  say.tell(
    `(MiniSearch's own JSON has its terms the other way round after each load: ${say.bytes(json!.written)} of ${say.bytes(json!.total)} would be new.)`,
  )

  const { said } = await runWriter(path)
  const found = find(said, 'restored')
  const done = find(said, 'acknowledged')
  say.claim(
    found.answers === answers(engine),
    `a new process restored snapshot ${found.sequence} and gives the same answers, score for score`,
  )
  acknowledged.set(done.sequence, find(said, 'persisting').answers)
  say.claim(
    done.sequence === found.sequence + 1,
    `it revised another one in a hundred and persisted, in ${say.duration(done.durationMs)}`,
  )
  return done.durationMs
}

/** The engine of the current snapshot. */
async function restore(store: Store, adapter: Adapter, options: { fallback?: boolean } = {}) {
  const restored = (await restoreEngine(store, adapter, { ...options, required: true }))!
  await restored.dispose()
  const { engine, snapshot } = restored
  return { engine, sequence: snapshot.sequence, skipped: snapshot.skipped }
}

interface Moment {
  name: string
  /** Kill when this was said … */
  when: (said: Said) => boolean
  /** … and so many ms have passed. */
  afterMs: number
}

function momentsOf(durationMs: number): Moment[] {
  const reading = (blob: string) => (said: Said) => said.step === 'reading' && said.blob === blob
  const step = (name: Said['step']) => (said: Said) => said.step === name
  return [
    { name: 'as it starts to read', when: reading('engine/head'), afterMs: 0 },
    { name: 'after a quarter', when: step('persisting'), afterMs: durationMs / 4 },
    { name: 'in the text index', when: reading('engine/documents'), afterMs: 0 },
    { name: 'half-way', when: step('persisting'), afterMs: durationMs / 2 },
    { name: 'in the documents', when: reading('engine/passages'), afterMs: 0 },
    { name: 'as it commits', when: step('committing'), afterMs: 0 },
    { name: 'as it says "done"', when: step('acknowledged'), afterMs: 0 },
  ]
}

async function killWriters(store: Store, path: string, adapter: Adapter, durationMs: number): Promise<void> {
  say.heading('Kill it')
  say.tell(
    'Child processes restore the engine, revise it, begin to persist and get SIGKILL. After each, what is there?',
  )
  const rows: string[][] = []
  let inTheMiddle = 0
  let right = 0
  for (const moment of momentsOf(durationMs)) {
    const { said, killed } = await runWriter(path, moment)
    const intended = find(said, 'persisting')
    const done = said.find((line) => line.step === 'acknowledged')
    const last = Math.max(...acknowledged.keys())
    if (done !== undefined) acknowledged.set(done.sequence, intended.answers)
    else if (killed) inTheMiddle += 1

    const left = leftovers(path)
    const { engine, sequence } = await restore(store, adapter)
    let outcome = `snapshot ${sequence}, the last acknowledged`
    if (done === undefined && sequence === last + 1) {
      // Committed and durable, but its writer died before it could say so: the new snapshot or the old one, never a
      // mixture.
      acknowledged.set(sequence, intended.answers)
      outcome = `snapshot ${sequence}, committed before it could say so`
    }
    const isRight = sequence === Math.max(...acknowledged.keys()) && answers(engine) === acknowledged.get(sequence)
    if (isRight) right += 1
    else outcome = `snapshot ${sequence}: WRONG`
    const { files, bytes } = left
    const behind = files === 0 ? 'nothing' : `${files} ${files === 1 ? 'file' : 'files'}, ${say.bytes(bytes)}`
    rows.push([moment.name, describe(said.at(-1)!), behind, outcome])
  }
  say.table(rows, ['killed', 'it had come to', 'left behind', 'loaded'])
  say.claim(inTheMiddle >= 3, `${inTheMiddle} of ${rows.length} died in the middle of a persist`)
  say.claim(
    right === rows.length,
    'each time the answers were those of that snapshot, score for score, and no acknowledged one was lost',
  )

  const { engine } = await restore(store, adapter)
  revise(engine)
  const saved = await persistEngine(store, adapter, engine)
  acknowledged.set(saved.sequence, answers(engine))
  say.claim(
    leftovers(path).files === 0,
    `the next persist (snapshot ${saved.sequence}) cleared away what they had left`,
  )
}

function describe(said: Said): string {
  if (said.step === 'reading') return `${say.bytes(said.bytes)} into ${said.blob}`
  return said.step
}

/** Runs a writer to its end, or to its death. */
async function runWriter(path: string, moment?: Moment): Promise<{ said: Said[]; killed: boolean }> {
  const child: ChildProcess = spawn(process.execPath, [writer, path, nodeModules], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const exited = once(child, 'exit')
  const said: Said[] = []
  let armed = false
  for await (const line of createInterface({ input: child.stdout! })) {
    const now = parse(line)
    // A last line may be cut in half.
    if (now === null) break
    said.push(now)
    if (armed || moment?.when(now) !== true) continue
    armed = true
    if (moment.afterMs === 0) child.kill('SIGKILL')
    else setTimeout(() => child.kill('SIGKILL'), moment.afterMs)
  }
  const [code, signal] = (await exited) as [number | null, string | null]
  if (signal === null && code !== 0) throw new Error(`a writer ended with exit code ${code}`)
  return { said, killed: signal === 'SIGKILL' }
}

function parse(line: string): Said | null {
  try {
    return JSON.parse(line) as Said
  } catch {
    return null
  }
}

function find<Step extends Said['step']>(said: readonly Said[], step: Step): Extract<Said, { step: Step }> {
  const found = said.find((line) => line.step === step)
  if (found === undefined) throw new Error(`a writer never came to "${step}"`)
  return found as Extract<Said, { step: Step }>
}

/** In a pack, past its header and a small first block: what was new in the last snapshot. */
const POSITION = 1000

async function damageOneByte(store: Store, path: string, adapter: Adapter, warnings: Warning[]): Promise<void> {
  say.heading('Damage one byte')
  const newest = Math.max(...acknowledged.keys())
  const pack = newestPack(path)
  flipBit(pack, POSITION)
  say.tell(
    `One bit of ${basename(pack).slice(0, 12)}….pack is flipped, at byte ${POSITION}. A load of snapshot ${newest}:`,
  )

  const error: unknown = await restore(store, adapter).catch((error: unknown) => error)
  say.claim(
    isHoldfastError(error, 'BLOB_DAMAGED'),
    `is refused before any library saw a byte of it, with ${describeError(error)}`,
  )
  for (const line of wrap(error.message, 96)) say.tell(`    ${say.red(line)}`)
  const { details } = error
  say.claim(
    details.sequence === newest && typeof details.blob === 'string' && basename(pack).startsWith(String(details.pack)),
    `the error's details name blob "${String(details.blob)}", snapshot ${newest} and the very pack`,
  )

  const older = await restore(store, adapter, { fallback: true })
  say.claim(older.sequence === newest - 1, `with fallback: true, snapshot ${older.sequence} is restored instead`)
  say.claim(answers(older.engine) === acknowledged.get(older.sequence), 'and answers as it did when it was persisted')
  say.claim(
    older.skipped.length === 1 &&
      older.skipped[0]!.sequence === newest &&
      warnings.some(({ code }) => code === 'FALLBACK'),
    `it is not silent about it: skipped names snapshot ${newest}, and there was a warning`,
  )

  flipBit(pack, POSITION)
  const { engine, sequence } = await restore(store, adapter)
  say.claim(
    sequence === newest && answers(engine) === acknowledged.get(newest),
    `the bit put back, snapshot ${newest} loads again: a failed load changes nothing`,
  )
  const word = marker(engine.generation)
  const found = searchText(engine, word, engine.documents.length).length
  const expected = Math.ceil(engine.documents.length / 100)
  say.claim(found === expected, `a search for "${word}" finds the ${found} documents revised last`)
}

function describeError(error: unknown): string {
  return isHoldfastError(error) ? `${error.code}, of kind "${error.kind}"` : String(error)
}

function wrap(text: string, width: number): string[] {
  const lines: string[] = ['']
  for (const word of text.split(' ')) {
    if (lines.at(-1)!.length + word.length >= width) lines.push('')
    lines[lines.length - 1] += lines.at(-1) === '' ? word : ` ${word}`
  }
  return lines
}

function timed<T>(work: () => T): [T, number] {
  const startMs = performance.now()
  const result = work()
  return [result, performance.now() - startMs]
}

await main()
