import MiniSearch, { type Options } from 'minisearch'
import type { ConformanceShape } from '../../src/engines/conformance.ts'
import { minisearch } from '../../src/engines/minisearch.ts'
import { effort } from '../support/effort.ts'
import { QUERIES, random, textDocument } from './text.ts'

// MiniSearch's whole space of options: every value of each option alone, and of those of every two options a third.

/** Which combinations are tried. */
const SEED = 9
const SHARE = Math.max(effort, 0.2) / 3

type Text = Record<string, unknown>

/** Values of each option. Those of `getDefault` are the same as none. */
const CHOICES: { [Option in keyof Options]?: readonly Options[Option][] } = {
  fields: [['title'], ['title', 'text', 'number', 'nowhere', 'constructor'], []],
  idField: [MiniSearch.getDefault('idField') as string, 'key', 'flag key'],
  storeFields: [MiniSearch.getDefault('storeFields') as string[], ['title'], ['any', 'nowhere', 'number']],
  extractField: [
    MiniSearch.getDefault('extractField') as never,
    (document, field) => (field === 'title' ? [document.title, document.text] : document[field]) as never,
  ],
  stringifyField: [MiniSearch.getDefault('stringifyField') as never, (value) => String(value).slice(0, 40)],
  tokenize: [
    MiniSearch.getDefault('tokenize') as never,
    (text) => text.split(' '),
    (text) => [...text],
    // Grams of three, and the empty term.
    (text) => ['', ...Array.from({ length: Math.max(0, text.length - 2) }, (_, at) => text.slice(at, at + 3))],
    () => [],
  ],
  processTerm: [
    MiniSearch.getDefault('processTerm') as never,
    (term) => term,
    (term) => (term.length < 3 ? null : [term, term.split('').reverse().join('')]),
    (term) => ['', term],
    () => false,
  ],
  searchOptions: [
    { prefix: true, fuzzy: 0.2, boost: { title: 2 } },
    { combineWith: 'AND', bm25: { k: 2, b: 0.5, d: 0 } },
  ],
  autoSuggestOptions: [{ fuzzy: 0.3 }],
  autoVacuum: [MiniSearch.getDefault('autoVacuum') as boolean, false, { minDirtCount: 1, minDirtFactor: 0 }],
  logger: [MiniSearch.getDefault('logger') as never, () => undefined],
}

interface Shape {
  name: string
  options: Options<Text>
}

function document(n: number, version = 0): Text {
  const { title, text } = textDocument(n, version)
  return {
    id: n,
    key: n % 2 === 0 ? `${n}` : n / 8,
    'flag key': n < 2 ? n === 1 : `flag ${n}`,
    title,
    // Every fifth has no text, every seventh an empty one.
    ...(n % 5 === 0 ? {} : { text: n % 7 === 0 ? '' : text }),
    number: n * 1.5,
    any: { deep: [n, null, { title }] },
  }
}

function shapeOf({ name, options }: Shape): ConformanceShape<MiniSearch> {
  const engine = new MiniSearch<Text>(options)
  // What is removed must be as it was added.
  const idOf = (n: number): unknown => document(n)[options.idField ?? 'id']
  for (let n = 0; n < 24; n++) engine.add(document(n))
  engine.remove(document(4))
  engine.discard(idOf(9) as never)
  engine.replace(document(11, 1))
  return {
    name,
    adapter: minisearch(MiniSearch, options as never),
    engine,
    answers: (asked) => [
      asked.documentCount,
      asked.termCount,
      asked.dirtCount,
      ...QUERIES.slice(0, 4).map((query) => [
        asked.search(query),
        asked.search(query, { prefix: true, fuzzy: 0.3, combineWith: 'OR' }),
        asked.autoSuggest(query),
      ]),
      asked.search(MiniSearch.wildcard),
      [3, 9, 11].map((n) => [asked.has(idOf(n)), asked.getStoredFields(idOf(n))]),
    ],
    change(changed) {
      for (let n = 30; n < 34; n++) changed.add(document(n))
      changed.remove(document(14))
      changed.discard(idOf(6) as never)
    },
  }
}

function* shapes(): Generator<Shape> {
  const base: Options<Text> = { fields: ['title', 'text'], autoVacuum: false }
  const entries = Object.entries(CHOICES) as [keyof Options, readonly unknown[]][]
  const next = random(SEED)
  const singles = entries.flatMap(([option, values]) => values.map((value, n) => ({ option, value, n })))
  yield { name: 'no options', options: base }
  for (const a of singles) {
    yield { name: `${a.option} ${a.n}`, options: { ...base, [a.option]: a.value } }
    for (const b of singles) {
      if (a.option >= b.option || next() > SHARE) continue
      const options = { ...base, [a.option]: a.value, [b.option]: b.value }
      yield { name: `${a.option} ${a.n}, ${b.option} ${b.n}`, options }
    }
  }
}

export function* minisearchShapes(): Generator<ConformanceShape<MiniSearch>> {
  for (const shape of shapes()) yield shapeOf(shape)
}
