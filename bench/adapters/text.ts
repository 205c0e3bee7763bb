import { mkdirSync, readdirSync } from 'node:fs'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import * as Orama from '@orama/orama'
import { Document } from 'flexsearch'
import MiniSearch from 'minisearch'
import type { EngineAdapter } from '../../src/engines/adapter.ts'
import { flexsearch } from '../../src/engines/flexsearch.ts'
import { minisearch } from '../../src/engines/minisearch.ts'
import { orama } from '../../src/engines/orama.ts'
import { plain } from '../../src/engines/plain.ts'
import { type BlobInput, content } from '../../src/index.ts'
import type { TextDocument } from './corpus.ts'
import { ofText, type TextSubject } from './documents.ts'
import { KIB, type Subjects, type Tried, withChunks } from './subject.ts'

/** Layouts that are only written: what they would have to read is not of interest here. */
function written<Engine>(layout: string, save: (engine: Engine) => Record<string, BlobInput>): Tried<Engine> {
  const adapter: EngineAdapter<Engine> = plain<Engine>({
    name: layout,
    save: (engine) => ({ blobs: save(engine) }),
    restore() {
      throw new Error('not measured')
    },
  })
  return { layout, adapter }
}

/** Of MiniSearch and Orama. */
const LAYOUT = 'a row for each document, 4 KiB'

function otherChunks<Engine>(adapter: EngineAdapter<Engine>, kibs: readonly number[] = [2, 8, 16]): Tried<Engine>[] {
  return kibs.map((kib) => ({
    layout: `a row for each document, ${kib} KiB`,
    adapter: withChunks(adapter, kib * KIB),
  }))
}

const miniOptions = { fields: ['title', 'text'], storeFields: ['title'] }
const miniAdapter = minisearch(MiniSearch<TextDocument>, miniOptions)

interface MiniJson {
  documentIds: object
  fieldLength: object
  storedFields: object
  index: [term: string, lists: object][]
}

/** The index as MiniSearch has it, by term; terms sorted. */
function miniByTerm(engine: MiniSearch<TextDocument>, averageBytes: number): Record<string, BlobInput> {
  const { documentIds, fieldLength, storedFields, index, ...head } = JSON.parse(JSON.stringify(engine)) as MiniJson
  const chunking = content({ averageBytes })
  const lines = (items: unknown[]): BlobInput => ({
    source: items.map((item) => `${JSON.stringify(item)}\n`).join(''),
    chunking,
  })
  return {
    head: JSON.stringify(head),
    documentIds: lines(Object.entries(documentIds)),
    fieldLength: lines(Object.entries(fieldLength)),
    storedFields: lines(Object.entries(storedFields)),
    index: lines(index.sort(([a], [b]) => (a < b ? -1 : 1))),
  }
}

const miniSearch: TextSubject<MiniSearch<TextDocument>> = {
  name: 'MiniSearch',
  layout: LAYOUT,
  create(documents) {
    const engine = new MiniSearch<TextDocument>(miniOptions)
    engine.addAll(documents)
    return engine
  },
  add: (engine, documents) => engine.addAll(documents),
  update(engine, documents) {
    for (const document of documents) engine.replace(document)
  },
  remove: (engine, documents) => engine.discardAll(documents.map(({ id }) => id)),
  adapter: miniAdapter,
  own: {
    what: 'JSON.stringify, writeFile; readFile, loadJSON',
    export: (engine) => JSON.stringify(engine),
    save: (engine, directory) => writeFile(join(directory, 'index.json'), JSON.stringify(engine)),
    load: async (directory) => MiniSearch.loadJSON(await readFile(join(directory, 'index.json'), 'utf8'), miniOptions),
  },
  tried: [
    ...[16, 4].map((kib) =>
      written<MiniSearch<TextDocument>>(`its JSON as it is, ${kib} KiB`, (engine) => ({
        index: { source: JSON.stringify(engine), chunking: content({ averageBytes: kib * KIB }) },
      })),
    ),
    ...[16, 4].map((kib) =>
      written<MiniSearch<TextDocument>>(`a line for each term, terms sorted, parts as blobs, ${kib} KiB`, (engine) =>
        miniByTerm(engine, kib * KIB),
      ),
    ),
    ...otherChunks(miniAdapter),
  ],
}

const oramaOptions = { schema: { title: 'string', text: 'string', length: 'number' } } as const
const oramaAdapter = orama(Orama, oramaOptions)

function oramaDocument({ id, title, text }: TextDocument): object {
  return { id: String(id), title, text, length: text.length }
}

const oramaSubject: TextSubject<Orama.AnyOrama> = {
  name: 'Orama',
  layout: LAYOUT,
  create(documents) {
    const db = Orama.create(oramaOptions)
    for (const document of documents) Orama.insert(db, oramaDocument(document) as never)
    return db
  },
  add(db, documents) {
    for (const document of documents) Orama.insert(db, oramaDocument(document))
  },
  update(db, documents) {
    for (const document of documents) Orama.update(db, String(document.id), oramaDocument(document))
  },
  remove(db, documents) {
    for (const { id } of documents) Orama.remove(db, String(id))
  },
  adapter: oramaAdapter,
  watched: (engine) =>
    orama(
      {
        ...Orama,
        save: (db: Orama.AnyOrama) => engine(() => Orama.save(db)),
        load: (db: Orama.AnyOrama, raw: never) => engine(() => Orama.load(db, raw)),
      },
      oramaOptions,
    ),
  own: {
    what: 'JSON.stringify(save(db)), writeFile; readFile, JSON.parse, load',
    export: (db) => JSON.stringify(Orama.save(db)),
    save: (db, directory) => writeFile(join(directory, 'index.json'), JSON.stringify(Orama.save(db))),
    async load(directory) {
      const db = Orama.create(oramaOptions)
      Orama.load(db, JSON.parse(await readFile(join(directory, 'index.json'), 'utf8')))
      return db
    },
  },
  tried: [
    ...[16, 4].map((kib) =>
      written<Orama.AnyOrama>(`JSON of its save(), ${kib} KiB`, (db) => ({
        index: { source: JSON.stringify(Orama.save(db)), chunking: content({ averageBytes: kib * KIB }) },
      })),
    ),
    ...otherChunks(oramaAdapter),
  ],
}

const flexOptions = { document: { id: 'id', index: ['title', 'text'], store: ['title'] } }
const flexAdapter = flexsearch(Document, flexOptions)
type Flex = InstanceType<typeof Document>

function flexParts(engine: Flex): Map<string, string> {
  const parts = new Map<string, string>()
  engine.export((key: string, data: string) => {
    parts.set(key, data)
  })
  return parts
}

const flexSubject: TextSubject<Flex> = {
  name: 'FlexSearch',
  layout: 'a row for each document, 2 KiB',
  create(documents) {
    const engine = new Document(flexOptions)
    for (const document of documents) engine.add({ ...document })
    return engine
  },
  add(engine, documents) {
    for (const document of documents) engine.add({ ...document })
  },
  update(engine, documents) {
    for (const document of documents) engine.update({ ...document })
  },
  remove(engine, documents) {
    for (const { id } of documents) engine.remove(id)
  },
  adapter: flexAdapter,
  own: {
    what: 'export, writeFile for each part; readFile, import',
    export: flexParts,
    async save(engine, directory) {
      mkdirSync(directory, { recursive: true })
      for (const [key, data] of flexParts(engine)) await writeFile(join(directory, key), data)
    },
    async load(directory) {
      const engine = new Document(flexOptions)
      for (const key of readdirSync(directory)) engine.import(key, await readFile(join(directory, key), 'utf8'))
      return engine
    },
  },
  tried: [
    ...[16, 4].map((kib) =>
      written<Flex>(`a blob for each part it exports, ${kib} KiB`, (engine) =>
        Object.fromEntries(
          [...flexParts(engine)].map(([key, source]) => [
            key,
            { source, chunking: content({ averageBytes: kib * KIB }) },
          ]),
        ),
      ),
    ),
    ...otherChunks(flexAdapter, [4, 8]),
  ],
}

export const textSubjects: Subjects = (scale) => [
  ofText(miniSearch, scale) as never,
  ofText(oramaSubject, scale) as never,
  ofText(flexSubject, scale) as never,
]
