// The file that an engine itself would have saved, put together from a snapshot without the engine.

import { columnFile } from '../encodings/column-file.ts'
import { HoldfastError, type Snapshot, type SnapshotBlob } from '../index.ts'
import { savedEngine } from './adapter.ts'
import { type EngineRecord, engineRecord } from './engine-record.ts'
import { hnswlibRegions } from './hnswlib.ts'
import { usearchRegions } from './usearch.ts'

/** An engine's file. */
interface EngineFile {
  record: EngineRecord
  /** What it is made of; together they have the size of the file. */
  blobs: readonly SnapshotBlob[]
  parts: AsyncIterable<Uint8Array>
}

/** The layouts of the adapters whose engines save one file. */
const LAYOUTS: Readonly<Record<string, number>> = { usearch: 1, hnswlib: 1, sqlite: 1 }

/**
 * The file of the engine in the snapshot, every byte of it verified.
 *
 * @throws ENGINE_MISMATCH when the snapshot holds no engine, one that does not save one file, or a layout that is not known
 */
export async function engineFile(snapshot: Snapshot, signal: AbortSignal | undefined): Promise<EngineFile> {
  const { sequence } = snapshot
  const record = engineRecord(snapshot.metadata)
  if (record === null) throw mismatch(sequence, null, 'it holds no engine')
  const { name, layout, options } = record
  const known = Object.hasOwn(LAYOUTS, name) ? LAYOUTS[name]! : null
  if (known === null) {
    throw mismatch(sequence, name, `${name} does not save itself as one file that could be put together without it`)
  }
  if (layout > known) throw mismatch(sequence, name, `its layout ${layout} of ${name} is newer than ${known}`)
  const saved = savedEngine(snapshot, record, signal)
  const blobs = saved.names.map((each) => saved.blob(each))
  if (name === 'sqlite') return { record, blobs, parts: saved.blob('database').stream({ signal }) }
  const regionsOf =
    name === 'usearch' ? usearchRegions : (header: Buffer) => hnswlibRegions(header, Number(options.dim))
  return { record, blobs, parts: await columnFile(saved, { engine: name, regionsOf }, signal) }
}

function mismatch(sequence: number, saved: string | null, why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `snapshot ${sequence} has no engine's file: ${why}`, {
    details: { sequence, what: 'name', saved, wanted: Object.keys(LAYOUTS) },
  })
}
