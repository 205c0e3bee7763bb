// The file of an engine, put together from the blobs of a snapshot as its record says, and checked by its digest. No
// adapter is needed for it.

import { HoldfastError, isHoldfastError } from '../errors.ts'
import { digestsEqual } from '../format/blake3.ts'
import { fileDigest, fileOfRecord } from '../format/engine-file.ts'
import { parseRegions, type Region } from '../format/regions.ts'
import { type FileBytes, type Home, writeInto } from '../local/saved-file.ts'
import { createSegmentDigests, digestSegments } from '../workers/segments.ts'
import type { SnapshotBlob } from './blob.ts'
import { joinColumns } from './join-columns.ts'

/** The blob of a file that is not split. */
export const WHOLE = 'index'

/** A file of an engine, and how it is put together again from its blobs. */
export interface FileRecord {
  /** 32 bytes: BLAKE3 of the digests of each 4 MiB of the file. */
  digest: Uint8Array
  /** Bytes. */
  size: number
  /** Absent: the file is the blob `index`. */
  regions?: readonly Region[]
}

/** The file that an engine's record names, or null when it names none that can be. */
export function parseFileRecord(record: unknown): FileRecord | null {
  const identity = fileOfRecord(record)
  if (identity === null) return null
  const { regions } = (record as { file: { regions?: unknown } }).file
  if (regions === undefined) return identity
  const parsed = parseRegions(regions, identity.size)
  return parsed === null ? null : { ...identity, regions: parsed }
}

/** What a file is put together from. */
export interface FileSource {
  file: FileRecord
  /** For messages. */
  engine: string
  sequence: number
  /** By the adapter's names. */
  blob(name: string): SnapshotBlob
  signal?: AbortSignal | undefined
}

/** The bytes of the file, of its blobs, every byte verified. */
export function bytesOfFile({
  file,
  blob,
  signal,
}: Omit<FileSource, 'engine' | 'sequence'>): AsyncIterable<Uint8Array> {
  const { regions } = file
  return regions === undefined ? blob(WHOLE).stream({ signal }) : joinColumns({ blob }, regions, signal)
}

/** Whether the bytes that `read` gives are those of the file. */
export async function isFile(file: FileRecord, read: FileBytes['read'], signal?: AbortSignal): Promise<boolean> {
  return isRecorded(file, await digestSegments(file.size, read, signal))
}

function isRecorded(file: FileRecord, segments: Uint8Array | null): boolean {
  return segments !== null && digestsEqual(fileDigest(segments), 0, file.digest, 0)
}

/**
 * Puts the file together in `home`. What is written is hashed on its way.
 *
 * @returns its path
 * @throws SNAPSHOT_DAMAGED when it is not the file that was recorded; what reading the blobs throws; NO_SPACE,
 * IO_FAILED
 */
export async function assembleFile(source: FileSource, home: Home): Promise<string> {
  const { file } = source
  const digests = createSegmentDigests(file.size)
  const made = await writeInto(home, noted(fitting(source), digests.add))
  await made.close()
  if (made.size === file.size && isRecorded(file, digests.finish())) return made.path
  throw disagree(source, 'their digest is another')
}

async function* noted(parts: AsyncIterable<Uint8Array>, note: (part: Uint8Array) => void): AsyncGenerator<Uint8Array> {
  for await (const part of parts) {
    note(part)
    yield part
  }
}

/** Blobs that do not fit together were never those of this file. */
async function* fitting(source: FileSource): AsyncGenerator<Uint8Array> {
  try {
    yield* bytesOfFile(source)
  } catch (error) {
    source.signal?.throwIfAborted()
    if (isHoldfastError(error)) throw error
    throw disagree(source, (error as Error).message, error)
  }
}

function disagree({ sequence, engine }: FileSource, why: string, cause?: unknown): HoldfastError {
  return new HoldfastError(
    'SNAPSHOT_DAMAGED',
    `snapshot ${sequence} is damaged: the blobs of ${engine} do not make the file that it recorded: ${why}`,
    { details: { sequence, engine }, cause },
  )
}
