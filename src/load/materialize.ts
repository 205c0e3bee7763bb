// Lays blobs of a snapshot out as plain files, for images that are built once and read-only later.

import type { StoreContext } from '../blocks/store-context.ts'
import type { OptionTable } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'
import { load } from './load.ts'

/** What `materialize` lays out. */
export interface MaterializeOptions {
  /** A sequence or a tag; default the current snapshot. */
  at?: number | string | undefined
  /** Default: all. */
  blobs?: readonly string[] | undefined
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

export const MATERIALIZE_OPTIONS: OptionTable<MaterializeOptions> = {
  at: 'any',
  blobs: 'any',
  signal: 'signal',
  onProgress: 'function',
}
/** What `materialize` laid out. */
export interface Materialized {
  sequence: number
  /** Paths by blob name. */
  files: Record<string, string>
}

export async function materialize(ctx: StoreContext, options: MaterializeOptions): Promise<Materialized> {
  const { at, blobs, signal, onProgress } = options
  const snapshot = await load(ctx, { required: true, ...(at === undefined ? {} : { at }) })
  try {
    const paths: [string, string][] = []
    for (const name of blobs ?? snapshot!.names) {
      paths.push([name, await snapshot!.blob(name).file({ signal, onProgress })])
    }
    return { sequence: snapshot!.sequence, files: Object.fromEntries(paths) }
  } finally {
    await snapshot!.dispose()
  }
}
