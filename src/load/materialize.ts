// Lays the blobs of a snapshot out as plain files, and the file of its engine as an image.

import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import { ENGINE_KEY } from '../format/engine-file.ts'
import { toHex } from '../format/hex.ts'
import { columnsOf } from '../format/regions.ts'
import type { OptionTable } from '../misuse.ts'
import type { OnProgress } from '../progress.ts'
import { term } from '../terms.ts'
import { assembleFile, type FileRecord, isFile, parseFileRecord, WHOLE } from './engine-file.ts'
import { load } from './load.ts'
import type { Snapshot } from './snapshot.ts'

/** What `materialize` lays out. */
export interface MaterializeOptions {
  /** A sequence or a tag; default the current snapshot. */
  at?: number | string | undefined
  /** Default: all; with `images`, all but those that the image is made of. */
  blobs?: readonly string[] | undefined
  /** The file of a native engine, too, if there is one. Default false. */
  images?: boolean | undefined
  /** Rejects with `signal.reason`. */
  signal?: AbortSignal | undefined
  onProgress?: OnProgress | undefined
}

export const MATERIALIZE_OPTIONS: OptionTable<MaterializeOptions> = {
  at: 'any',
  blobs: 'list',
  images: 'boolean',
  signal: 'signal',
  onProgress: 'function',
}

/** What `materialize` laid out. */
export interface Materialized {
  sequence: number
  /** Paths by blob name. */
  files: Record<string, string>
  /** The path of the engine's file; null where there is none, or none was asked for. */
  image: string | null
}

export async function materialize(ctx: StoreContext, request: MaterializeOptions): Promise<Materialized> {
  const { at, blobs, images = false, signal, onProgress } = request
  const snapshot: Snapshot = (await load(ctx, { required: true, ...(at === undefined ? {} : { at }) }))!
  try {
    const record = images ? engineOf(snapshot) : null
    const image = record === null ? null : await layOutImage(ctx, snapshot, record, signal)
    const parts = new Set(record === null ? [] : partsOf(record.file))
    const paths: [string, string][] = []
    for (const name of blobs ?? snapshot.names.filter((each) => !parts.has(each))) {
      paths.push([name, await snapshot.blob(name).file({ signal, onProgress })])
    }
    return { sequence: snapshot.sequence, files: Object.fromEntries(paths), image }
  } finally {
    await snapshot.dispose()
  }
}

/** The folder of an engine's blobs. */
const FOLDER = 'engine/'

interface Engine {
  name: string
  file: FileRecord
}

function engineOf({ metadata }: Snapshot): Engine | null {
  const record = metadata[ENGINE_KEY] as { name?: unknown } | undefined
  const file = parseFileRecord(record)
  return file === null ? null : { name: String(record?.name), file }
}

function partsOf({ regions }: FileRecord): string[] {
  return (regions?.flatMap(columnsOf) ?? [WHOLE]).map((name) => FOLDER + name)
}

async function layOutImage(
  ctx: StoreContext,
  snapshot: Snapshot,
  { name, file }: Engine,
  signal: AbortSignal | undefined,
): Promise<string> {
  const { sequence } = snapshot
  const digest = toHex(file.digest)
  const source = { file, engine: name, sequence, blob: (part: string) => snapshot.blob(FOLDER + part), signal }
  const held =
    (await ctx.local.images?.use(digest, {
      size: file.size,
      verify: (read) => isFile(file, read, signal),
      assemble: (home) => assembleFile(source, home),
      signal,
    })) ?? null
  if (held === null) {
    throw new HoldfastError(
      'FILES_UNSUPPORTED',
      `materialize: ${ctx.storage.location} cannot keep an image: it needs a directory with locks that can be written, and room; ${term('filesDir')}`,
      { details: { location: ctx.storage.location } },
    )
  }
  // So that the next write keeps it, if it is not of the current snapshot.
  await ctx.local.images!.noteRestored(digest)
  await held.release()
  return held.path
}
