import { fixed } from '../../src/format/chunking.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import type { PersistOptions } from '../../src/persist/options.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import type { Store, StoreOptions } from '../../src/store.ts'
import type { Process } from '../faulty-disk/disk.ts'
import { createRandom } from '../support/random.ts'
import { storeOver } from '../support/store-over.ts'

/** Two levels below the root, which is all there is at first. */
export const STORE = '/srv/store'

/** A store as one process of the machine has it open. */
export function openOn(process: Process, options: StoreOptions & { readOnly?: boolean; path?: string } = {}): Store {
  const { readOnly = false, path = STORE, ...settings } = options
  const storage = directoryStorage({ fs: process.fs, path, readOnly, lock: 'os' })
  return storeOver(storage, process.fs, { onWarning: () => undefined, ...settings }, { readOnly })
}

const made = new Map<string, Record<string, Uint8Array>>()

/** What a snapshot holds is known from its label alone, so that every byte of whatever is loaded can be checked. */
export function contentOf(label: string): Record<string, Uint8Array> {
  const content = made.get(label) ?? makeContent(label)
  made.set(label, content)
  return content
}

function makeContent(label: string): Record<string, Uint8Array> {
  const [series = '', change = ''] = label.split('/')
  if (series.startsWith('large')) {
    return Object.fromEntries(
      ['one', 'two', 'three'].map((name) => [name, createRandom(numberOf(label + name)).bytes(1_100_000)]),
    )
  }
  if (series === 'tree') return { 'tree/x': Buffer.from('x'.repeat(900)), 'tree/below/y': Buffer.from('y'.repeat(700)) }
  const index = createRandom(numberOf(series)).bytes(3_000)
  // Labels of one series differ in one chunk.
  if (change !== '') index.set(createRandom(numberOf(change)).bytes(512), (numberOf(change) % 5) * 512)
  const docs = Buffer.from(`docs of ${label}\n`.repeat(20))
  return { index, docs }
}

/** How such a snapshot is persisted: small blobs in many chunks, so that generations share some. */
export function persistOf(label: string): PersistOptions {
  const blobs = Object.fromEntries(
    Object.entries(contentOf(label)).map(([name, source]) => [
      name,
      { source, chunking: fixed(source.length > 100_000 ? 65_536 : 512) },
    ]),
  )
  return { blobs, metadata: { label } }
}

function numberOf(text: string): number {
  let hash = 2_166_136_261
  for (let at = 0; at < text.length; at++) hash = Math.imul(hash ^ text.charCodeAt(at), 16_777_619)
  return hash >>> 0
}

export type Contents = (label: string) => Record<string, Uint8Array>

/** The label of a snapshot, after comparing every byte of it. */
export async function labelOf(snapshot: Snapshot, contents: Contents = contentOf): Promise<string> {
  const label = String(snapshot.metadata.label)
  const expected = contents(label)
  if (Object.keys(expected).sort().join() !== [...snapshot.names].sort().join()) {
    throw new Error(`snapshot ${snapshot.sequence} (${label}) has the blobs ${snapshot.names.join()}`)
  }
  for (const [name, bytes] of Object.entries(expected)) {
    if (Buffer.compare(await snapshot.blob(name).bytes(), bytes) === 0) continue
    throw new Error(`blob ${name} of snapshot ${snapshot.sequence} is not that of ${label}`)
  }
  return label
}

/**
 * All that a user can see of a store, read byte for byte: one line a snapshot. Equal for stores that hold the same;
 * empty for a store without snapshots and for none at all.
 */
export async function observe(store: Store, contents: Contents = contentOf): Promise<string> {
  const lines: string[] = []
  for (const { sequence, tags, abandoned, current } of await store.snapshots()) {
    await using snapshot = await store.load({ at: sequence, required: true })
    const label = await labelOf(snapshot!, contents)
    lines.push(`${sequence} ${label}${current ? ' current' : ''}${abandoned ? ' abandoned' : ''} ${tags.join()}`.trim())
  }
  await using loaded = await store.load()
  const current = lines.find((line) => line.includes(' current'))
  if (current?.split(' ')[0] !== loaded?.sequence.toString())
    throw new Error(`load gave ${loaded?.sequence}, not ${current}`)
  return lines.join('\n')
}
