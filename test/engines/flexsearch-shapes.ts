import { Charset, Document, Encoder, Index } from 'flexsearch'
import type { ConformanceShape } from '../../src/engines/conformance.ts'
import { flexsearch } from '../../src/engines/flexsearch.ts'
import { effort } from '../support/effort.ts'
import { random, textDocument } from './text.ts'

// FlexSearch's whole space of options: every value of each option of an Index and of a Document alone, and a part of
// every two of them.

/** Which combinations are tried. */
const SEED = 7
const SHARE = Math.max(effort, 0.2) / 6

type Choices = Record<string, readonly unknown[]>

const INDEX: Choices = {
  preset: ['memory', 'performance', 'match', 'score', 'default'],
  tokenize: ['strict', 'exact', 'default', 'tolerant', 'forward', 'reverse', 'bidirectional', 'full'],
  resolution: [1, 3, 9, 20],
  context: [true, false, { depth: 1 }, { depth: 2, bidirectional: false, resolution: 1 }, { depth: 4, resolution: 9 }],
  encoder: [
    ...Object.keys(Charset),
    Charset.LatinExtra,
    Charset.CJK,
    {},
    { dedupe: false, numeric: false, minlength: 3, maxlength: 6 },
    { filter: new Set(['the', 'of']), matcher: new Map([['index', 'store']]), replacer: [/[aeiou]/g, ''] },
    { split: '', finalize: (terms: string[]) => [...terms, 'always'] },
    new Encoder({ normalize: true, stemmer: new Map([['ing', '']]) }),
  ],
  encode: [(text: string) => text.split(''), (text: string) => [text], () => []],
  rtl: [true, false],
  fastupdate: [true, false],
  keystore: [1, 4, 12],
  cache: [true, 10],
  score: [(_content: string[], term: string) => term.length % 5],
  resolve: [true],
  priority: [2],
}

const DOCUMENT: Choices = {
  index: [
    'title',
    ['title', 'text'],
    [
      { field: 'title', tokenize: 'forward', encoder: 'LatinBalance' },
      { field: 'text', context: true, resolution: 3 },
    ],
    ['inner:note', 'parts[]:name', 'inner:dotted.name'],
    [{ field: 'title', custom: (data: Note) => `${data.title} and more` }],
    [{ field: 'text', filter: (data: Note) => data.year % 2 === 0 }],
  ],
  tag: [
    'kind',
    ['kind', 'inner:note'],
    ['years'],
    ['flags', 'empty'],
    [{ field: 'kind', filter: (data: Note) => data.year > 2003 }],
    [{ field: 'made', custom: (data: Note) => [data.kind, 'both', data.year] }],
    [],
  ],
  store: [
    true,
    false,
    'title',
    ['title', 'inner:note', 'parts'],
    [{ field: 'text', filter: (data: Note) => data.year % 3 === 0 }],
    [{ field: 'short', custom: (data: Note) => data.text.slice(0, 5) }],
  ],
  id: ['id', 'inner:key'],
  fastupdate: [true, false],
  keystore: [2, 8],
  tokenize: ['strict', 'forward', 'full'],
  context: [true],
  cache: [true],
}

type Note = ReturnType<typeof note>

function note(n: number, version = 0) {
  const { title, text } = textDocument(n, version)
  const id = n % 3 === 0 ? `${n}` : n
  return {
    id,
    title,
    text,
    kind: `kind ${n % 4}`,
    year: 2000 + (n % 6),
    years: [2000 + (n % 6), 2001 + (n % 5), `${2000 + (n % 6)}`],
    flags: [n % 2 === 0, true],
    empty: [],
    inner: { note: title, 'dotted.name': text, key: `key ${n}` },
    parts: [{ name: title }, { name: text }],
  }
}

const WORDS = ['the', 'sto', 'index search', 'constructor', 'naive', 'always', 'a']

/** Combinations of the options: none, each value alone, some of every two. */
function* combinations(
  choices: Choices,
  next: () => number,
): Generator<[name: string, options: Record<string, unknown>]> {
  const singles = Object.entries(choices).flatMap(([option, values]) =>
    values.map((value, n) => ({ option, value, name: `${option} ${typeof value === 'string' ? value : n}` })),
  )
  yield ['no options', {}]
  for (const a of singles) {
    yield [a.name, { [a.option]: a.value }]
    for (const b of singles) {
      if (a.option >= b.option || next() > SHARE) continue
      yield [`${a.name}, ${b.name}`, { [a.option]: a.value, [b.option]: b.value }]
    }
  }
}

/** An import takes `fastupdate` away, and so FlexSearch goes on in another way. */
function changesAlike(options: Record<string, unknown>): boolean {
  return options.fastupdate !== true && options.preset !== 'performance'
}

export function* indexShapes(): Generator<ConformanceShape<Index>> {
  for (const [name, options] of combinations(INDEX, random(SEED))) {
    const index = new Index(options)
    for (let n = 0; n < 24; n++) index.add(note(n).id, note(n).text)
    for (const n of [3, 10]) index.update(note(n).id, note(n, 1).text)
    for (const n of [0, 7, 23]) index.remove(note(n).id)
    yield {
      name: `Index with ${name}`,
      adapter: flexsearch(Index, options) as unknown as ConformanceShape<Index>['adapter'],
      engine: index,
      answers: (asked) => [
        WORDS.map((word) => [asked.search(word, { limit: 50 }), asked.search(`${word} the`, { suggest: true })]),
        [0, '0', 7, 10].map((id) => Boolean(asked.contain(id))),
      ],
      ...(changesAlike(options) ? { change: changeIndex } : {}),
    }
  }
}

function changeIndex(index: Index): void {
  for (let n = 30; n < 34; n++) index.add(note(n).id, note(n).text)
  index.append(note(5).id, 'always the index')
  index.remove(note(8).id)
}

export function* documentShapes(): Generator<ConformanceShape<Document>> {
  for (const [name, options] of combinations(DOCUMENT, random(SEED))) {
    const { index = ['title'], tag, store, id, ...rest } = options
    const given = { ...rest, document: { id: id ?? 'id', index, ...(tag ? { tag } : {}), ...(store ? { store } : {}) } }
    const idOf = (n: number): string | number => (id === 'inner:key' ? note(n).inner.key : note(n).id)
    const document = new Document(given as never)
    for (let n = 0; n < 24; n++) document.add(note(n))
    for (const n of [3, 10]) document.update(note(n, 1))
    for (const n of [0, 7, 23]) document.remove(idOf(n))
    yield {
      name: `Document with ${name}`,
      adapter: flexsearch(Document, given as never) as unknown as ConformanceShape<Document>['adapter'],
      engine: document,
      answers: (asked) => [
        WORDS.map((word) => [
          outcome(() => asked.search(word, { limit: 50 })),
          outcome(() => asked.search(word, { enrich: Boolean(store), suggest: true })),
        ]),
        tagsOf(asked),
        [0, 3, 10, 11].map((n) => [Boolean(asked.contain(idOf(n))), store ? plain(asked.get(idOf(n)) ?? null) : null]),
      ],
      ...(changesAlike(options)
        ? {
            change(changed: Document) {
              for (let n = 30; n < 34; n++) changed.add(note(n))
              changed.update(note(5, 1))
              changed.remove(idOf(8))
            },
          }
        : {}),
    }
  }
}

/** With `fastupdate`, FlexSearch 0.8.212 leaves empty lists behind on which some of its searches throw. */
function outcome(search: () => unknown): unknown {
  try {
    return plain(search())
  } catch (error) {
    return (error as Error).message
  }
}

/** Without the prototypes, which stored documents may lack. */
function plain(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value))
}

/** What every tag finds. */
function tagsOf(document: Document): unknown {
  const { tag } = document as unknown as { tag: Map<string, Map<unknown, unknown>> | null }
  return [...(tag ?? [])].map(([field, tags]) => [
    field,
    // A tag that is left without documents finds nothing, as one that is not there.
    [...tags.keys()]
      .map((value) => [String(value), typeof value, document.search({ tag: { [field]: value }, limit: 50 } as never)])
      .filter(([, , found]) => (found as unknown[]).length > 0)
      .sort((a, b) => (String(a) < String(b) ? -1 : 1)),
  ])
}
