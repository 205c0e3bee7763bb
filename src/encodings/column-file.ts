// Shared by the adapters of engines that save one file. If the file has the expected structure, each column becomes a
// blob. Otherwise the whole file becomes one blob, `index`.

import { type Chunking, content, fixed } from '../index.ts'
import { cutShort, type SavedFile, wholeBytes, withFile } from '../local/saved-file.ts'
import { columnBlobs, joinColumns, measure, type Region } from './columns.ts'
import type { EngineState, SavedEngine } from './engine-state.ts'

const WHOLE = 'index'

/**
 * Bytes of a chunk of the columns. Smaller ones find less to write after an update, but cost more to keep and to hash; measured in
 * docs/engines.md.
 */
const CHUNK_BYTES = 4096

/** What a file looks like inside; the first bytes of the column `header` tell. */
export interface ColumnFormat {
  /** For messages. */
  engine: string
  /** The regions, of the bytes that the column `header` will have; null when it is no such file. */
  readHeader(file: SavedFile, temporaryDirectory: string | undefined): Promise<Buffer | null>
  regionsOf(header: Buffer): Region[] | null
}

/** The blobs of a saved file, which is removed when they have been read. */
export async function saveColumns(
  file: SavedFile,
  format: ColumnFormat,
  metadata: Record<string, unknown>,
  temporaryDirectory: string | undefined,
): Promise<EngineState> {
  const release = (): Promise<void> => file.release()
  try {
    const state = { captured: true, metadata, release }
    if (file.size === 0) throw cutShort(temporaryDirectory, format.engine, 0, 1)
    const header = await format.readHeader(file, temporaryDirectory)
    const regions = header === null ? null : format.regionsOf(header)
    if (regions !== null) {
      const measured = await measure(file, regions)
      if (measured.end !== null && measured.end > file.size)
        throw cutShort(temporaryDirectory, format.engine, file.size, measured.end)
      if (measured.end === file.size) return { ...state, blobs: columnBlobs(file, measured, chunkings(regions)) }
    }
    return { ...state, blobs: { [WHOLE]: { source: wholeBytes(file), chunking: content() } } }
  } catch (error) {
    await release()
    throw error
  }
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

/** Puts the file together again, every byte of it verified, for `load` to read. */
export async function restoreColumns<T>(
  saved: SavedEngine,
  format: ColumnFormat,
  options: { temporaryDirectory: string | undefined; signal: AbortSignal | undefined },
  load: (path: string) => T | Promise<T>,
): Promise<T> {
  const { signal, temporaryDirectory } = options
  return await withFile(temporaryDirectory, await columnFile(saved, format, signal), load)
}

/** The bytes of the file, every one of them verified. */
export async function columnFile(
  saved: SavedEngine,
  { engine, regionsOf }: Pick<ColumnFormat, 'engine' | 'regionsOf'>,
  signal: AbortSignal | undefined,
): Promise<AsyncIterable<Uint8Array>> {
  if (saved.has(WHOLE)) return saved.blob(WHOLE).stream({ signal })
  const header = Buffer.from(await saved.blob('header').bytes({ signal }))
  const regions = regionsOf(header)
  if (regions === null) throw new Error(`the columns of this ${engine} index are not known to this adapter`)
  return joinColumns(saved, regions, signal)
}
