import { createHash } from 'node:crypto'
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'vitest'
import { fixed } from '../../src/format/chunking.ts'
import { type Head, parseHead } from '../../src/format/head.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import type { Snapshot } from '../../src/load/snapshot.ts'
import type { Warning } from '../../src/progress.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import type { Store, StoreOptions } from '../../src/store.ts'
import { storeOver } from '../support/store-over.ts'
import { noise } from './bytes.ts'
import { quickScratch, scratch } from './scratch.ts'

/** A copy, which the process has never seen: what it remembers of the original does not hold for it. */
export function copyOf(path: string): string {
  const copy = join(path.startsWith(tmpdir()) ? scratch() : quickScratch(), 'store')
  if (existsSync(path)) cpSync(path, copy, { recursive: true })
  return copy
}

export interface TestStore extends Store {
  warnings: Warning[]
}

/** The store at `path`, on any disk. Warnings are collected. */
export function storeAt(
  path: string,
  options: StoreOptions & { fs?: FileSystem; filesDir?: string; lock?: 'os' | 'none' } = {},
): TestStore {
  const { fs = nodeFileSystem, filesDir, lock = 'os', ...rest } = options
  const warnings: Warning[] = []
  const storage = directoryStorage({ fs, path, readOnly: false, lock })
  const store = storeOver(
    storage,
    fs,
    { onWarning: (warning) => void warnings.push(warning), ...rest },
    { lock: lock === 'os', filesDir },
  )
  return Object.assign(store, { warnings })
}

/** All that a snapshot holds, for comparing; bytes as their digest, by another hash than the store's. */
export interface Contents {
  sequence: number
  metadata: Record<string, unknown>
  blobs: Record<string, string>
}

export function fingerprint(bytes: Uint8Array): string {
  return `${bytes.length} bytes, sha256 ${createHash('sha256').update(bytes).digest('hex')}`
}

export async function contentsOf(snapshot: Snapshot): Promise<Contents> {
  const blobs: Record<string, string> = {}
  for (const name of snapshot.names) blobs[name] = fingerprint(await snapshot.blob(name).bytes())
  return { sequence: snapshot.sequence, metadata: snapshot.metadata, blobs }
}

/** The current snapshot, or null. Read by a store that knows nothing yet. */
export async function loadContents(path: string): Promise<Contents | null> {
  await using store = storeAt(path)
  const snapshot = await store.load()
  if (snapshot === null) return null
  try {
    return await contentsOf(snapshot)
  } finally {
    await snapshot.dispose()
  }
}

/**
 * Two blobs that share nothing with those of another seed, so that packs die whole. The large one has a node above its
 * chunks.
 */
export function generation(seed: number) {
  const blobs = { small: noise(500, seed), large: noise(5_000, seed + 1000) }
  return { blobs, metadata: { seed }, chunking: fixed(1024) }
}

export function contentsOfGeneration(sequence: number, seed: number): Contents {
  const { metadata, blobs } = generation(seed)
  return { sequence, metadata, blobs: { small: fingerprint(blobs.small), large: fingerprint(blobs.large) } }
}

export interface State {
  current: Contents | null
  history: { sequence: number; tags: readonly string[]; abandoned: boolean }[]
}

export async function stateOf(path: string): Promise<State> {
  await using store = storeAt(path)
  const history = (await store.snapshots()).map(({ sequence, tags, abandoned }) => ({ sequence, tags, abandoned }))
  return { current: await loadContents(path), history }
}

export function headOf(path: string): Head {
  return parseHead(readFileSync(join(path, 'HEAD.json')), 'HEAD.json').head
}

export function previousHeadOf(path: string): Head | null {
  const file = join(path, 'HEAD.prev.json')
  return existsSync(file) ? parseHead(readFileSync(file), 'HEAD.prev.json').head : null
}

/** Names of what lies in a directory of the store, sorted; none when it is not there. */
export function listing(path: string, directory: string): string[] {
  const at = join(path, directory)
  return existsSync(at) ? readdirSync(at).sort() : []
}

/**
 * Nothing lies in the store that should not: no temps, and exactly the packs that HEAD names or that only HEAD, and not
 * yet HEAD.prev, says are retired.
 */
export function expectTidy(path: string): void {
  const head = headOf(path)
  const retiredBefore = new Set(previousHeadOf(path)?.retired.map(({ name }) => name))
  const waiting = head.retired.filter(({ name }) => !retiredBefore.has(name))
  const named = [...head.packs, ...waiting].map(({ name }) => `${name}.pack`)
  expect(listing(path, 'packs')).toEqual(named.sort())
  expect(listing(path, 'tmp')).toEqual([])
  expect(listing(path, 'files/.tmp')).toEqual([])
}
