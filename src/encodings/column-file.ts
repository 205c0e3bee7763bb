// How the file of an engine becomes blobs; `load/engine-file.ts` makes the file of them again. With `regions`, each
// column becomes a blob; otherwise the whole file becomes one blob, `index`.

import type { Region } from '../format/regions.ts'
import { type BlobInput, type Chunking, content, fixed } from '../index.ts'
import { WHOLE } from '../load/engine-file.ts'
import { cutShort, type FileBytes, wholeBytes } from '../local/saved-file.ts'
import { columnBlobs, type Measured, measure } from './columns.ts'

/**
 * Bytes of a chunk of the columns. Smaller ones find less to write after an update, but cost more to keep and to hash;
 * measured in docs/engines.md.
 */
const CHUNK_BYTES = 4096

/** How a file is split, once it is known that the regions add up to it. */
interface FileSplit {
  /** Null: it is one blob. */
  measured: Measured | null
}

/**
 * Reads what tells where the regions end.
 *
 * @throws SOURCE_FAILED when the file is shorter than its regions
 */
export async function splitFile(
  engine: string,
  file: FileBytes,
  regions: readonly Region[] | null,
  temporaryDirectory: string | undefined,
): Promise<FileSplit> {
  if (regions === null) return { measured: null }
  const measured = await measure(file, regions)
  if (measured.end !== null && measured.end > file.size)
    throw cutShort(temporaryDirectory, engine, file.size, measured.end)
  return { measured: measured.end === file.size ? measured : null }
}

/** The blobs of a file. Each is read when it is asked for, from `file`. */
export function blobsOfFile(
  file: FileBytes,
  { measured }: FileSplit,
  chunking: Chunking | undefined,
): Record<string, BlobInput> {
  if (measured === null) return { [WHOLE]: { source: wholeBytes(file), chunking: chunking ?? content() } }
  const all = chunkings(measured.regions)
  if (chunking !== undefined) for (const column of Object.keys(all)) all[column] = chunking
  return columnBlobs(file, measured, all)
}

/** As many whole records as go into a chunk, so that a record that changes is in one chunk only. */
function chunkings(regions: readonly Region[]): Record<string, Chunking> {
  const all: Record<string, Chunking> = {}
  for (const { fields, tail } of regions) {
    for (const { column, size } of fields) all[column] = fixedAligned(size)
    // Tails differ in length: what comes after one that grew has moved.
    if (tail !== undefined) all[tail.column] = content({ averageBytes: CHUNK_BYTES })
  }
  return all
}

/** Chunks of whole records. */
export function fixedAligned(stride: number): Chunking {
  const chunk = stride >= CHUNK_BYTES ? stride : Math.floor(CHUNK_BYTES / stride) * stride
  return fixed(Math.min(chunk, 1024 * 1024))
}
