// Writes a new file so that long runs of zeros become holes: a sparse file comes back as one, and fits where it came
// from.

import { writeFully } from './io.ts'
import type { File } from './port.ts'

/**
 * Holes begin and end at multiples of this. A file of many small holes would be fragmented for little gain;
 * preallocated pages and memory maps have long ones.
 */
const HOLE_BYTES = 64 * 1024
const ZEROS = new Uint8Array(HOLE_BYTES)

/** Writes into a file that has no bytes yet. */
interface SparseWriter {
  write(views: readonly Uint8Array[], position: number): Promise<void>
  /** Gives the file its length, where it ends in a hole. */
  end(): Promise<void>
}

/** @param file new, or truncated: what is not written must read as zeros */
export function sparseWriter(file: File): SparseWriter {
  let length = 0
  let written = 0

  async function writeRun(view: Uint8Array, from: number, to: number, position: number): Promise<void> {
    if (to === from) return
    await writeFully(file, [view.subarray(from, to)], position + from)
    written = Math.max(written, position + to)
  }

  async function writeView(view: Uint8Array, position: number): Promise<void> {
    let runStart = 0
    let at = (HOLE_BYTES - (position % HOLE_BYTES)) % HOLE_BYTES
    for (; at + HOLE_BYTES <= view.length; at += HOLE_BYTES) {
      if (!isZero(view, at)) continue
      await writeRun(view, runStart, at, position)
      runStart = at + HOLE_BYTES
    }
    await writeRun(view, runStart, view.length, position)
    length = Math.max(length, position + view.length)
  }

  return {
    async write(views, position) {
      let at = position
      for (const view of views) {
        await writeView(view, at)
        at += view.length
      }
    },
    async end() {
      if (written < length) await writeFully(file, [ZEROS.subarray(0, 1)], length - 1)
    },
  }
}

function isZero(view: Uint8Array, at: number): boolean {
  if (view[at] !== 0) return false
  return Buffer.compare(view.subarray(at, at + HOLE_BYTES), ZEROS) === 0
}
