import { createHash } from 'node:crypto'
import type { BlobInput } from 'holdfast'
import type { EngineAdapter } from 'holdfast/engines'
import { minisearch } from 'holdfast/engines/minisearch'
import MiniSearch from 'minisearch'
import type { Document } from './documents.ts'
import { DIMENSIONS, embed, type VectorIndex, type Vectors } from './vectors.ts'

/** A small search engine: the documents, a text index over them and, where usearch is there, a vector index. */
export interface Engine {
  /** 0 as built; each revision is the next. */
  generation: number
  documents: Document[]
  text: MiniSearch<Document>
  vectors: VectorIndex | null
}

export const textOptions = { fields: ['title', 'text'] }
export const textAdapter = minisearch(MiniSearch<Document>, textOptions)

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

/**
 * Saves and restores all of it as one: MiniSearch by the adapter for it, and beside it the documents and the vectors.
 */
export function engineAdapter(vectors: Vectors | null): EngineAdapter<Engine> {
  return {
    name: 'demo',
    layout: 1,
    options: { text: textAdapter.options, dimensions: vectors === null ? 0 : DIMENSIONS },
    async save(engine, context) {
      const text = await textAdapter.save(engine.text, context)
      const { documents, generation } = engine
      const blobs: Record<string, BlobInput> = {
        ...Object.fromEntries(Symbol.iterator in text.blobs ? text.blobs : Object.entries(text.blobs)),
        passages: lines(documents),
      }
      const { vectors } = engine
      if (vectors !== null) blobs.vectors = (path) => vectors.save(path)
      return { blobs, metadata: { ...text.metadata, generation } }
    },
    async restore(saved, context) {
      const passages = (await saved.blob('passages').text()).trimEnd().split('\n')
      const engine: Engine = {
        generation: saved.metadata.generation as number,
        documents: passages.map((line) => JSON.parse(line) as Document),
        text: await textAdapter.restore(saved, context),
        vectors: null,
      }
      if (vectors !== null) {
        engine.vectors = vectors.create()
        engine.vectors.load(await saved.blob('vectors').file())
      }
      return engine
    },
  }
}

function* lines(documents: readonly Document[]): Generator<Uint8Array> {
  for (const document of documents) yield Buffer.from(`${JSON.stringify(document)}\n`)
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
