import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { openStore } from 'holdfast'
import { restoreEngine } from 'holdfast/engines'
import { autosave } from 'holdfast/engines/autosave'
import { usearch } from 'holdfast/engines/usearch'
import { collectDocuments } from '../demo/documents.ts'
import { DIMENSIONS, embed } from '../demo/vectors.ts'
import { loadUsearch, type VectorIndex } from './usearch.ts'

// A vector index knows vectors by number; what they stand for is beside it, the passages. The two change together and
// are kept together: `alongside` is called in the instant in which the index is captured. So in no snapshot, whenever
// it was made and whatever was killed meanwhile, is there a vector without its passage, or a passage without its
// vector.

const Index = loadUsearch()
const options = { dimensions: DIMENSIONS, metric: 'cos' }
const adapter = usearch(Index, options)
const path = process.env.VECTORS ?? join(tmpdir(), 'holdfast-vector-store')

interface Passage {
  title: string
  text: string
}

type Passages = Map<number, Passage>

/** Every vector has its passage, every passage its vector. */
function agree(index: VectorIndex, passages: Passages): boolean {
  return index.size() === passages.size && [...passages.keys()].every((key) => index.contains(BigInt(key)))
}

const store = await openStore(path, { keepLast: 8 })

/** The index and the passages of one snapshot: the current one, or the one asked for. */
async function restore(at?: number): Promise<{ index: VectorIndex; passages: Passages } | null> {
  const which = at === undefined ? { fallback: true } : { at }
  const restored = await restoreEngine(store, adapter, { ...which, blobs: ['passages'] })
  if (restored === null) return null
  const passages = new Map(await restored.snapshot.blob('passages').json<[number, Passage][]>())
  await restored.dispose()
  return { index: restored.engine, passages }
}

const restored = await restore()
const { index, passages } = restored ?? { index: new Index(options), passages: new Map() as Passages }
if (!agree(index, passages)) throw new Error('index and passages disagree')
console.log(
  restored ? `${passages.size} passages restored from ${path}, and their vectors.` : `Nothing in ${path} yet.`,
)

// ---- changes, saved in the background while they go on

const saver = autosave(store, adapter, index, {
  everyMs: 50,
  quietLimitMs: 50,
  alongside: () => ({ blobs: { passages: JSON.stringify([...passages]) } }),
})
let lastKey = Math.max(0, ...passages.keys())

function put(passage: Passage): void {
  lastKey += 1
  index.add(BigInt(lastKey), embed(passage.text))
  passages.set(lastKey, passage)
  saver.changed()
}

function remove(key: number): void {
  index.remove(BigInt(key))
  passages.delete(key)
  saver.changed()
}

const { documents } = collectDocuments('node_modules')
const some = documents.slice(0, Number(process.env.PASSAGES ?? 3000))
console.log(`${some.length} passages are put in, and the oldest taken out, while snapshots are made.`)
for (const [n, { title, text }] of some.entries()) {
  put({ title, text })
  if (passages.size > some.length) remove(passages.keys().next().value!)
  if (n % 5 === 0) await setImmediate()
}
await saver.close()

// ---- what is durable now

for (const { sequence } of await store.snapshots()) {
  const then = (await restore(sequence))!
  if (!agree(then.index, then.passages)) throw new Error(`index and passages of snapshot ${sequence} disagree`)
  console.log(`Snapshot ${sequence}: ${then.index.size()} vectors, ${then.passages.size} passages, and they agree.`)
}
const query = 'write a file atomically'
const { keys, distances } = index.search(embed(query), 3, 1)
console.log(`Nearest to "${query}":`)
keys.forEach((key, n) => {
  console.log(`  ${(1 - distances[n]!).toFixed(2)}  ${passages.get(Number(key))!.title}`)
})
console.log('Run it again, or kill it (kill -9) at any moment and run it again.')
await store.close()
