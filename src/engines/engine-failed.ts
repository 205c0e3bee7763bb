// What an engine throws while it is restored says nothing of where it was: this adds the blob, the snapshot's engine
// and the options to look at.

import type { SavedEngine } from '../encodings/engine-state.ts'
import { HoldfastError, isHoldfastError } from '../index.ts'
import { WHOLE } from '../load/engine-file.ts'

interface Restoring {
  /** The adapter's name. */
  engine: string
  /** The arguments of the adapter that decide how the bytes are read, in words. */
  option: string
  signal: AbortSignal | undefined
}

/**
 * Runs the restore of an engine. What it throws of its own becomes `ENGINE_FAILED`; a HoldfastError or the reason of
 * the signal stays what it is.
 */
export async function restoring<Engine>(
  saved: SavedEngine,
  { engine, option, signal }: Restoring,
  restore: (saved: SavedEngine) => Engine | Promise<Engine>,
): Promise<Engine> {
  let last: string | null = null
  const watched: SavedEngine = {
    ...saved,
    blob(name) {
      last = name
      return saved.blob(name)
    },
    file(options) {
      // A file that was split into columns comes from no single blob.
      last = saved.has(WHOLE) ? WHOLE : null
      return saved.file(options)
    },
  }
  try {
    return await restore(watched)
  } catch (cause) {
    if (isHoldfastError(cause) || (signal?.aborted === true && cause === signal.reason)) throw cause
    const blob = last === null ? null : `engine/${last}`
    const at = blob === null ? '' : ` (at the blob ${JSON.stringify(blob)})`
    const version = saved.version === undefined ? '' : `, saved by version ${saved.version}`
    const why = cause instanceof Error ? cause.message : String(cause)
    throw new HoldfastError(
      'ENGINE_FAILED',
      `${engine} failed while it was restored${at}${version}: ${why}. Every byte that it was given is what was saved: look at ${option}, and at the ` +
        'version of the package',
      { details: { engine, blob, option }, cause },
    )
  }
}
