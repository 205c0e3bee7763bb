import { createRequire } from 'node:module'
import type { UsearchLike, UsearchOptions } from 'holdfast/engines/usearch'

/** What the example calls of usearch. */
export interface VectorIndex extends UsearchLike {
  add(key: bigint, vector: Float32Array): void
  remove(key: bigint): void
  contains(key: bigint): boolean
  size(): number
  search(vector: Float32Array, count: number, threads: number): { keys: BigUint64Array; distances: Float32Array }
}

/**
 * Yours is `import { Index } from 'usearch'`: here it is not among the dependencies, but in `bench/engines/`, beside
 * the other engines.
 */
export function loadUsearch(): new (options: UsearchOptions) => VectorIndex {
  try {
    const require = createRequire(new URL('../../../../bench/engines/package.json', import.meta.url))
    return (require('usearch') as { Index: new (options: UsearchOptions) => VectorIndex }).Index
  } catch (error) {
    console.error(`usearch cannot be used here: ${String(error).split('\n')[0]}`)
    return process.exit(2)
  }
}
