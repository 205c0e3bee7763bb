import { HoldfastError } from '../errors.ts'
import { DirectorySyncFailed } from '../fs/durable.ts'
import { ioError } from '../fs/io.ts'

/** What to throw when writing `target` for the caller failed: `COMMIT_UNKNOWN`, with the way out, where it is there and may not last. */
export function writingFailed(error: unknown, target: string, wayOut: string): unknown {
  if (!(error instanceof DirectorySyncFailed)) return ioError(error, `writing ${target}`)
  return new HoldfastError(
    'COMMIT_UNKNOWN',
    `${target} was written, but its directory could not be fsynced: it may be gone after a power loss. ${wayOut}`,
    { details: { path: target }, cause: error.cause },
  )
}
