import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { destroyStore, isHoldfastError, memory, openStore, type Store, type Warning } from 'holdfast'
import MiniSearch from 'minisearch'
import { collectDocuments, type Document } from './documents.ts'
import {
  answers,
  buildText,
  buildVectors,
  type Engine,
  type Hit,
  loadEngine,
  marker,
  revise,
  saveEngine,
  searchText,
  searchVectors,
} from './engine.ts'
import { flipBit, leftovers, listing, newestPack } from './files.ts'
import * as say from './print.ts'
import { DIMENSIONS, loadVectors, type Vectors } from './vectors.ts'
import type { Said } from './writer.ts'

// `npm run demo`: what the package is for, on real input, in under a minute. Every line with a tick was checked by this program, which
// fails when one is untrue.

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
    const engine = buildIndex(vectors)
    await using store = await openStore(path, { onWarning: (warning) => warnings.push(warning) })
    const parts = await persistIndex(store, path, engine)
    await changeOneInAHundred(store, engine, parts)
    const durationMs = await restart(path, engine)
    await killWriters(store, path, vectors, durationMs)
    await damageOneByte(store, path, vectors, warnings)
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

/** A store in memory for each part of the engine, to see what each of them writes on its own. */
type Parts = Map<string, Store>

async function persistIndex(store: Store, path: string, engine: Engine): Promise<Parts> {
  say.heading('Persist it')
  const request = saveEngine(engine)
  const saved = await store.persist(request)
  acknowledged.set(saved.sequence, answers(engine))
  const { total, written } = saved.bytes
  say.tell(
    `${Object.keys(saved.blobs).join(', ')}: ${say.bytes(total)}, of which ${say.bytes(written)} were written to ${path},`,
    `one snapshot for all of them, fsynced and acknowledged in ${say.duration(saved.durationMs)}.`,
  )
  const before = listing(path)
  const again = await store.persist(saveEngine(engine))
  say.claim(
    again.unchanged && again.sequence === saved.sequence,
    `persisted again unchanged: recognised in ${say.duration(again.durationMs)}`,
  )
  say.claim(listing(path) === before, 'and nothing was written: no file but the lock was touched')

  const parts: Parts = new Map()
  for (const [name, blob] of Object.entries(request.blobs)) {
    const part = memory()
    await part.persist({ blobs: { [name]: blob } })
    parts.set(name, part)
  }
  return parts
}

async function changeOneInAHundred(store: Store, engine: Engine, parts: Parts): Promise<void> {
  say.heading('Change one document in a hundred')
  const before = postings(engine)
  const revised = revise(engine)
  const touched = [...postings(engine)].filter(([term, list]) => before.get(term) !== list).length
  const request = saveEngine(engine)
  const saved = await store.persist(request)
  acknowledged.set(saved.sequence, answers(engine))
  const { total, written, reused } = saved.bytes
  say.tell(`${say.number(revised)} of ${say.number(engine.documents.length)} documents get new text, in both indexes.`)
  const rows: string[][] = []
  for (const [name, blob] of Object.entries(request.blobs)) {
    const { bytes } = await parts.get(name)!.persist({ blobs: { [name]: blob } })
    rows.push([name, say.bytes(bytes.total), say.bytes(bytes.written), say.percent(bytes.written, bytes.total)])
  }
  rows.push(['snapshot', say.bytes(total), say.bytes(written), say.percent(written, total)])
  say.table(rows, ['', 'size', 'written', ''])
  say.tell(
    `The text index is the least incremental: ${say.number(touched)} of ${say.number(engine.text.termCount)} posting lists changed, and they lie`,
    'all over it. Its JSON is what MiniSearch gives, with the terms sorted.',
  )
  say.claim(
    !saved.unchanged && written < total / 2 && reused > 0,
    `${say.bytes(written)} written in ${say.duration(saved.durationMs)}; the rest was there already`,
  )
}

/** Each term's postings as text. */
function postings(engine: Engine): Map<string, string> {
  return new Map(engine.text.toJSON().index.map(([term, lists]) => [term, JSON.stringify(lists)]))
}

/** A new process restores the engine, revises it and persists it; answers how long it was at that, in ms. */
async function restart(path: string, engine: Engine): Promise<number> {
  say.heading('Restart')
  const { said } = await runWriter(path)
  const restored = find(said, 'restored')
  const persisting = find(said, 'persisting')
  const done = find(said, 'acknowledged')
  say.claim(
    restored.answers === answers(engine),
    `a new process restored snapshot ${restored.sequence} and gives the same answers, score for score`,
  )
  acknowledged.set(done.sequence, persisting.answers)
  say.claim(
    done.sequence === restored.sequence + 1,
    `it revised another one in a hundred and persisted, in ${say.duration(done.durationMs)}`,
  )

  const json = JSON.stringify(engine.text)
  const plain = memory()
  await plain.persist({ blobs: { text: json } })
  const reloaded = JSON.stringify(MiniSearch.loadJSON<Document>(json, { fields: ['title', 'text'] }))
  const { bytes } = await plain.persist({ blobs: { text: reloaded } })
  say.tell(
    'Why the terms are sorted: MiniSearch writes them the other way round after each load. As it gives it, a',
    `reloaded index in which nothing changed writes ${say.bytes(bytes.written)} of ${say.bytes(bytes.total)}.`,
  )
  return done.durationMs
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
    { name: 'as it starts to read', when: reading('documents'), afterMs: 0 },
    { name: 'after a quarter', when: step('persisting'), afterMs: durationMs / 4 },
    { name: 'in the text index', when: reading('text'), afterMs: 0 },
    { name: 'half-way', when: step('persisting'), afterMs: durationMs / 2 },
    { name: 'near the end', when: step('persisting'), afterMs: durationMs * 0.9 },
    { name: 'as it commits', when: step('committing'), afterMs: 0 },
    { name: 'as it says "done"', when: step('acknowledged'), afterMs: 0 },
  ]
}

async function killWriters(store: Store, path: string, vectors: Vectors | null, durationMs: number): Promise<void> {
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
    const { value: engine, snapshot } = (await store.restore((found) => loadEngine(found, vectors), {
      required: true,
    }))!
    await snapshot.dispose()
    const { sequence } = snapshot
    let outcome = `snapshot ${sequence}, the last acknowledged`
    if (done === undefined && sequence === last + 1) {
      // Committed and durable, but its writer died before it could say so: the new snapshot or the old one, never a mixture.
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

  const { value: engine, snapshot } = (await store.restore((found) => loadEngine(found, vectors), { required: true }))!
  await snapshot.dispose()
  revise(engine)
  const saved = await store.persist(saveEngine(engine))
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

/** Past the header of a pack: the first block that was new in its snapshot. */
const FIRST_BLOCK = 64

async function damageOneByte(store: Store, path: string, vectors: Vectors | null, warnings: Warning[]): Promise<void> {
  say.heading('Damage one byte')
  const newest = Math.max(...acknowledged.keys())
  const pack = newestPack(path)
  const position = FIRST_BLOCK + 100
  flipBit(pack, position)
  say.tell(
    `One bit of ${basename(pack).slice(0, 12)}….pack is flipped, at byte ${position}. A load of snapshot ${newest}:`,
  )

  const use = (found: Parameters<typeof loadEngine>[0]) => loadEngine(found, vectors)
  const error: unknown = await store.restore(use).catch((error: unknown) => error)
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

  const older = (await store.restore(use, { fallback: true }))!
  await older.snapshot.dispose()
  const { sequence } = older.snapshot
  say.claim(sequence === newest - 1, `with fallback: true, snapshot ${sequence} is restored instead`)
  say.claim(answers(older.value) === acknowledged.get(sequence), 'and answers as it did when it was persisted')
  say.claim(
    older.passedOver.length === 1 &&
      older.passedOver[0]!.sequence === newest &&
      warnings.some(({ code }) => code === 'FALLBACK'),
    `it is not silent about it: passedOver names snapshot ${newest}, and there was a warning`,
  )

  flipBit(pack, position)
  const healed = (await store.restore(use))!
  await healed.snapshot.dispose()
  say.claim(
    healed.snapshot.sequence === newest && answers(healed.value) === acknowledged.get(newest),
    `the bit put back, snapshot ${newest} loads again: a failed load changes nothing`,
  )
  const found = searchText(healed.value, marker(healed.value.generation), healed.value.documents.length).length
  say.claim(
    found === Math.ceil(healed.value.documents.length / 100),
    `a search for "${marker(healed.value.generation)}" finds the ${found} documents revised last`,
  )
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
