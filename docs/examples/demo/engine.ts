import { createHash } from 'node:crypto'
import { type BlobInput, content, type PersistOptions, type Snapshot } from 'holdfast'
import MiniSearch from 'minisearch'
import type { Document } from './documents.ts'
import { embed, type VectorIndex, type Vectors } from './vectors.ts'

/** A small search engine: the documents, a text index over them and, where usearch is there, a vector index. */
export interface Engine {
  /** 0 as built; each revision is the next. */
  generation: number
  documents: Document[]
  text: MiniSearch<Document>
  vectors: VectorIndex | null
}

const textOptions = { fields: ['title', 'text'] }

export function buildText(documents: readonly Document[]): MiniSearch<Document> {
  const text = new MiniSearch<Document>(textOptions)
  text.addAll(documents)
  return text
}

export function buildVectors(documents: readonly Document[], vectors: Vectors): VectorIndex {
  const index = vectors.create()
  for (const { id, text } of documents) index.add(BigInt(id), embed(text), 1)
  return index
}

/** What to persist: each part as a blob in the form that its own library saves and loads. */
export function saveEngine(engine: Engine): PersistOptions {
  const { generation, documents, text, vectors } = engine
  const blobs: Record<string, BlobInput> = {
    documents: { [Symbol.iterator]: () => lines(documents) },
    // Posting lists change a little in many places: smaller chunks than the default of 16 KiB.
    text: { source: JSON.stringify(sorted(text)), chunking: content({ averageBytes: 4096 }), type: 'application/json' },
  }
  if (vectors !== null) blobs.vectors = (path) => vectors.save(path)
  return { blobs, metadata: { generation, documents: documents.length }, message: `generation ${generation}` }
}

/** MiniSearch writes its terms in the opposite order after each load; sorted, an unchanged index is unchanged bytes. */
function sorted(text: MiniSearch<Document>) {
  const json = text.toJSON()
  return { ...json, index: json.index.sort(([a], [b]) => (a < b ? -1 : 1)) }
}

function* lines(documents: readonly Document[]): Generator<Uint8Array> {
  for (const document of documents) yield Buffer.from(`${JSON.stringify(document)}\n`)
}

/** The engine in a snapshot. Every byte of it has been verified before a library sees it. */
export async function loadEngine(snapshot: Snapshot, vectors: Vectors | null): Promise<Engine> {
  const documents = (await snapshot.blob('documents').text()).trimEnd().split('\n')
  const engine: Engine = {
    generation: snapshot.metadata.generation as number,
    documents: documents.map((line) => JSON.parse(line) as Document),
    text: MiniSearch.loadJSON<Document>(await snapshot.blob('text').text(), textOptions),
    vectors: null,
  }
  if (vectors !== null) {
    engine.vectors = vectors.create()
    engine.vectors.load(await snapshot.blob('vectors').file())
  }
  return engine
}

/** The next generation: one document in a hundred, neighbours, gets new text. Answers how many. */
export function revise(engine: Engine): number {
  const { documents, text, vectors } = engine
  engine.generation += 1
  const count = Math.ceil(documents.length / 100)
  const start = (engine.generation * 997) % (documents.length - count)
  for (const before of documents.slice(start, start + count)) {
    const after = { ...before, text: `${before.text}\n${marker(engine.generation)}\n` }
    documents[before.id] = after
    text.remove(before)
    text.add(after)
    vectors?.remove(BigInt(before.id))
    vectors?.add(BigInt(after.id), embed(after.text), 1)
  }
  return count
}

/** A word that only the documents of that revision have. */
export function marker(generation: number): string {
  return `revision${generation}`
}

export interface Hit {
  id: number
  score: number
}

export function searchText(engine: Engine, query: string, hits: number): Hit[] {
  // Ties by id: in which order MiniSearch gives them depends on whether it was loaded or built.
  const found = engine.text.search(query).sort((a, b) => b.score - a.score || a.id - b.id)
  return found.slice(0, hits).map(({ id, score }) => ({ id, score }))
}

export function searchVectors(engine: Engine, query: string, hits: number): Hit[] {
  if (engine.vectors === null) return []
  const { keys, distances } = engine.vectors.search(embed(query), hits, 1)
  return [...keys].map((key, i) => ({ id: Number(key), score: 1 - distances[i]! }))
}

const queries = [
  'write a file atomically',
  'abort signal',
  'schema validation error',
  'lock',
  'source map generator',
  'promise iterator stream',
  'random number generator seed',
  'typed array bytes',
]

/** A digest of what the engine answers to many queries: documents, scores and all. */
export function answers(engine: Engine): string {
  const revisions = Array.from({ length: engine.generation + 2 }, (_, generation) => marker(generation))
  const results = [...queries, ...revisions].map((query) => {
    const text = searchText(engine, query, 50)
    return { text, vectors: searchVectors(engine, query, 20), texts: text.map(({ id }) => engine.documents[id]!.text) }
  })
  return createHash('sha256').update(JSON.stringify(results)).digest('hex')
}
