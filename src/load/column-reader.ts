// Reads a column part by part, so that whole records of it always lie in one piece of memory that threads share.

import { HEADROOM_BYTES } from '../workers/shared-parts.ts'
import { type MaybeShared, SHARED_PARTS, type SnapshotBlob } from './blob.ts'

/** One column. */
export interface ColumnReader {
  /** What was read of it and not taken. Good until the second `fill` after it. */
  readonly bytes: Uint8Array
  /** Takes bytes from the front. */
  take(bytes: number): void
  /** Makes at least so many bytes lie in `bytes`. Throws where the column ends before. */
  fill(atLeast: number): Promise<void>
  /** Takes so many bytes, and passes them on as they are. */
  pass(bytes: number): AsyncGenerator<Uint8Array>
  hasMore(): Promise<boolean>
  close(): Promise<void>
}

export function createColumnReader(
  column: string,
  blob: SnapshotBlob & MaybeShared,
  signal: AbortSignal | undefined,
): ColumnReader {
  const shared = blob[SHARED_PARTS]?.({ signal })
  const parts: AsyncIterator<Uint8Array> = shared ?? blob.stream({ signal })
  let bytes: Uint8Array = new Uint8Array(0)
  let ended = false

  async function next(): Promise<boolean> {
    const { value, done } = await parts.next()
    if (done === true) {
      ended = true
      return false
    }
    bytes = bytes.length === 0 ? value : shared === undefined ? concat(bytes, value) : behind(bytes, value)
    return true
  }

  return {
    get bytes() {
      return bytes
    },
    take(count) {
      bytes = bytes.subarray(count)
    },
    async fill(atLeast) {
      while (bytes.length < atLeast) {
        if (ended || !(await next())) throw new Error(`the column ${column} is shorter than its file`)
      }
    },
    async *pass(count) {
      for (let left = count; left > 0; ) {
        if (bytes.length === 0) await this.fill(1)
        const part = bytes.subarray(0, left)
        bytes = bytes.subarray(part.length)
        left -= part.length
        yield part
      }
    },
    async hasMore() {
      while (bytes.length === 0 && !ended) await next()
      return bytes.length > 0
    },
    async close() {
      await parts.return?.()
    },
  }
}

/** Puts what is left in front of a part, where there is room for it. */
function behind(left: Uint8Array, part: Uint8Array): Uint8Array {
  if (left.length > HEADROOM_BYTES || part.byteOffset < HEADROOM_BYTES) return concat(left, part)
  const joined = new Uint8Array(part.buffer, part.byteOffset - left.length, left.length + part.length)
  joined.set(left)
  return joined
}

function concat(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(new SharedArrayBuffer(a.length + b.length))
  joined.set(a)
  joined.set(b, a.length)
  return joined
}
