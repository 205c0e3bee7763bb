// The file that an engine itself would have saved, put together from a snapshot without the engine.

import { HoldfastError, type Snapshot, type SnapshotBlob } from '../index.ts'
import { bytesOfFile } from '../load/engine-file.ts'
import { type EngineRecord, engineRecord } from './engine-record.ts'
import { savedBlobs } from './restore-engine.ts'

/** An engine's file. */
interface EngineFile {
  record: EngineRecord
  /** What it is made of; together they have the size of the file. */
  blobs: readonly SnapshotBlob[]
  parts: AsyncIterable<Uint8Array>
}

/** Layouts of sqlite from this one on are not known. */
const SQLITE_LAYOUT_MAX = 1

/**
 * The file of the engine in the snapshot, every byte of it verified.
 *
 * @throws ENGINE_MISMATCH when the snapshot holds no engine, one that saved no file, or a layout that is not known
 */
export async function engineFile(snapshot: Snapshot, signal: AbortSignal | undefined): Promise<EngineFile> {
  const { sequence } = snapshot
  const record = engineRecord(snapshot.metadata)
  if (record === null) throw mismatch(sequence, null, 'it holds no engine')
  const { name, layout, options, file } = record
  const saved = savedBlobs(snapshot, record, signal)
  const blobs = saved.names.map((each) => saved.blob(each))
  if (file !== undefined) return { record, blobs, parts: bytesOfFile({ file, blob: saved.blob, signal }) }
  if (name === 'hnswlib' && options.search === 'bruteforce') {
    throw mismatch(sequence, name, 'a BruteforceSearch of hnswlib is kept as a list of its vectors')
  }
  if (name !== 'sqlite') {
    throw mismatch(sequence, name, `${name} does not save itself as one file that could be put together without it`)
  }
  if (layout > SQLITE_LAYOUT_MAX) {
    throw mismatch(sequence, name, `its layout ${layout} of ${name} is newer than ${SQLITE_LAYOUT_MAX}`)
  }
  return { record, blobs, parts: saved.blob('database').stream({ signal }) }
}

function mismatch(sequence: number, saved: string | null, why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `snapshot ${sequence} has no engine's file: ${why}`, {
    details: { sequence, what: 'file', saved, wanted: null },
  })
}
