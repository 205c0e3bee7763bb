// hnswlib-node's BruteforceSearch. Its file is 24 bytes (capacity, bytes of a record, count) and a record for each
// place that there is room for: vector, label. The columns:
//
//    vectors   of the elements, in order
//    labels    64 bits each
//
// hnswlib does not read its own file well: an index that was read no longer knows which labels it has, so a point that
// is removed stays and one that is updated is there twice. So the elements are added to a new index, which has the same
// records in the same order.

import { fixedAligned } from '../encodings/column-file.ts'
import { columnBlobs } from '../encodings/columns.ts'
import type { EngineState, SavedEngine } from '../encodings/engine-state.ts'
import { createYielder } from '../event-loop.ts'
import type { Region } from '../format/regions.ts'
import { captureFile, cutShort, type SavedFile } from '../local/saved-file.ts'

/** What is called of a `BruteforceSearch`. */
export interface BruteforceLike {
  initIndex(maxElements: number): void
  writeIndexSync(path: string): void
  addPoint(point: number[], label: number): void
  removePoint(label: number): void
  getNumDimensions(): number
  getMaxElements(): number
  getCurrentCount(): number
}

const HEADER_BYTES = 24
const LABEL_BYTES = 8

/**
 * The elements of an index, captured at one go. The places behind them are memory that nobody wrote to, and are left
 * out.
 */
export async function saveBruteforce(
  engine: BruteforceLike,
  dim: number,
  temporaryDirectory: string | undefined,
): Promise<EngineState> {
  const file = captureFile(temporaryDirectory, (path) => engine.writeIndexSync(path))
  const metadata = { maxElements: engine.getMaxElements() }
  const release = (): Promise<void> => file.release()
  try {
    const { count, end } = await readHeader(file, dim, temporaryDirectory)
    if (file.size < end) throw cutShort(temporaryDirectory, 'hnswlib', file.size, end)
    const regions = [
      { count: 1, fields: [{ column: 'header', size: HEADER_BYTES }] },
      { count, fields: fieldsOf(dim) },
    ]
    const measured = { regions, starts: [0, HEADER_BYTES], end: HEADER_BYTES + count * (dim * 4 + LABEL_BYTES) }
    const chunkings = Object.fromEntries(fieldsOf(dim).map(({ column, size }) => [column, fixedAligned(size)]))
    const { header: _header, ...blobs } = columnBlobs(file, measured, chunkings)
    return { captured: true, metadata, blobs, release }
  } catch (error) {
    await release()
    throw error
  }
}

function fieldsOf(dim: number): Region['fields'] {
  return [
    { column: 'vectors', size: dim * 4 },
    { column: 'labels', size: LABEL_BYTES },
  ]
}

/** How many elements there are, and where the file ends that has room for all. */
async function readHeader(
  file: SavedFile,
  dim: number,
  temporaryDirectory: string | undefined,
): Promise<{ count: number; end: number }> {
  const header = Buffer.alloc(HEADER_BYTES)
  const recordBytes = dim * 4 + LABEL_BYTES
  if ((await file.read(header, 0)) < HEADER_BYTES)
    throw cutShort(temporaryDirectory, 'hnswlib', file.size, HEADER_BYTES)
  const [capacity, bytes, count] = [0, 8, 16].map((at) => Number(header.readBigUInt64LE(at)))
  if (bytes !== recordBytes || count! > capacity!) {
    throw new TypeError(
      `hnswlib: a BruteforceSearch of ${dim} dimensions saved a file that is not known to this adapter`,
    )
  }
  return { count: count!, end: HEADER_BYTES + capacity! * recordBytes }
}

/** Adds the elements to an empty index, which has been made for them. */
export async function restoreBruteforce(
  engine: BruteforceLike,
  saved: SavedEngine,
  dim: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { maxElements } = saved.metadata
  const labels = Buffer.from(await saved.blob('labels').bytes({ signal }))
  const count = labels.length / LABEL_BYTES
  engine.initIndex(Math.max(count, typeof maxElements === 'number' ? maxElements : 0))
  const yieldIfLong = createYielder(signal)
  let added = 0
  for await (const vector of vectorsOf(saved, dim, signal)) {
    engine.addPoint(vector, Number(labels.readBigUInt64LE(LABEL_BYTES * added)))
    added += 1
    await yieldIfLong()
  }
}

async function* vectorsOf(saved: SavedEngine, dim: number, signal: AbortSignal | undefined): AsyncGenerator<number[]> {
  const bytes = dim * 4
  let rest: Buffer = Buffer.alloc(0)
  for await (const part of saved.blob('vectors').stream({ signal })) {
    const all = Buffer.concat([rest, part])
    let at = 0
    for (; at + bytes <= all.length; at += bytes) {
      yield Array.from({ length: dim }, (_, i) => all.readFloatLE(at + 4 * i))
    }
    rest = all.subarray(at)
  }
}
