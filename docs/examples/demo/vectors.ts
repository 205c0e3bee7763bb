import { spawnSync } from 'node:child_process'
import { createRequire } from 'node:module'
import { join } from 'node:path'

/** What is used of usearch, a native vector index that can only save to a path and load from one. */
export interface VectorIndex {
  add(key: bigint, vector: Float32Array, threads: number): void
  remove(key: bigint): void
  search(vector: Float32Array, k: number, threads: number): { keys: BigUint64Array; distances: Float32Array }
  save(path: string): void
  load(path: string): void
  size(): number
}

export interface Vectors {
  version: string
  create(): VectorIndex
}

const VERSION = '2.25.3'
export const DIMENSIONS = 256

/** usearch, or why there is none. It is not a dependency of the package: `install` fetches it, beside the others. */
export function loadVectors(nodeModules: string, options: { install: boolean }): Vectors | { missing: string } {
  // A directory of its own: npm removes from `node_modules` itself whatever no package.json asks for.
  const prefix = join(nodeModules, '.holdfast-demo')
  try {
    return requireVectors(prefix)
  } catch {
    if (!options.install) return { missing: 'it is not installed' }
  }
  const failure = install(prefix)
  if (failure !== null) return { missing: failure }
  try {
    return requireVectors(prefix)
  } catch (error) {
    return { missing: `it does not load here: ${firstLine(String(error))}` }
  }
}

function requireVectors(prefix: string): Vectors {
  const require = createRequire(join(prefix, 'from-here.js'))
  const { Index } = require('usearch') as { Index: new (config: object) => VectorIndex }
  const config = {
    dimensions: DIMENSIONS,
    metric: 'cos',
    quantization: 'f32',
    connectivity: 16,
    expansion_add: 64,
    expansion_search: 64,
    multi: false,
  }
  return { version: VERSION, create: () => new Index(config) }
}

/** Null, or why it failed. Its install script would only compile what is there compiled. */
function install(prefix: string): string | null {
  const flags = ['--no-save', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error', '--fetch-retries=0']
  const npm = process.env.npm_execpath
  const [command, first] = npm === undefined ? ['npm', []] : [process.execPath, [npm]]
  const { status, stderr, error } = spawnSync(
    command,
    [...first, 'install', '--prefix', prefix, ...flags, `usearch@${VERSION}`],
    { encoding: 'utf8', timeout: 60_000, shell: npm === undefined && process.platform === 'win32' },
  )
  return status === 0 ? null : `npm could not install it: ${firstLine(error?.message ?? stderr)}`
}

function firstLine(text: string): string {
  return text.trim().split('\n')[0] ?? ''
}

/**
 * A text as a vector, by the hashing trick: each word adds or takes away one at a place that its hash gives (Weinberger
 * et al., 2009). It knows nothing of meaning, but it is real input for a vector index, and the same everywhere.
 */
export function embed(text: string): Float32Array {
  const vector = new Float32Array(DIMENSIONS)
  for (const word of text.toLowerCase().match(/[a-z0-9]{2,}/g) ?? []) {
    const hash = hashOf(word)
    vector[(hash >>> 1) % DIMENSIONS]! += (hash & 1) === 0 ? -1 : 1
  }
  let squares = 0
  for (let i = 0; i < DIMENSIONS; i++) {
    vector[i] = Math.sign(vector[i]!) * Math.log1p(Math.abs(vector[i]!))
    squares += vector[i]! ** 2
  }
  const length = Math.sqrt(squares) || 1
  return vector.map((value) => value / length)
}

/** FNV-1a, its bits mixed once more. */
function hashOf(word: string): number {
  let hash = 0x811c9dc5
  for (let i = 0; i < word.length; i++) hash = Math.imul(hash ^ word.charCodeAt(i), 0x01000193)
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d)
  return (hash ^ (hash >>> 13)) >>> 0
}
