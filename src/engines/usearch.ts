// The adapter for usearch. A usearch file holds a matrix of the vectors, two headers, the level of each node, and the
// nodes. A node is its key, its level, the links of the lowest level, and the links of the levels above. The columns:
//
//    header    8 bytes before the matrix (rows, bytes of a row), 64 and 40 bytes after it
//    vectors
//    levels    a 16-bit number for each node
//    keys      the key, and the level again
//    links     of the lowest level
//    upper     of the levels above
//
// usearch ends the process when a file is truncated or damaged. So every byte is verified before usearch reads it.

import type { Region } from '../format/regions.ts'
import { captureBytes, cutShort, type FileBytes } from '../local/saved-file.ts'
import { assertOptions } from '../misuse.ts'
import type { EngineAdapter } from './adapter.ts'
import { restoring } from './engine-failed.ts'
import { packageVersion } from './version.ts'

/** What is called of an `Index`. */
export interface UsearchLike {
  save(path: string): void
  load(path: string): void
  view?(path: string): void
  dimensions(): number
}

/** What is called of the class. */
export type UsearchClass<Engine extends UsearchLike, Options> = new (options: Options) => Engine

/** The options that the index is made with. */
export interface UsearchOptions {
  dimensions: number
  metric?: string | undefined
  quantization?: string | undefined
  multi?: boolean | undefined
}

/** How an index is restored, where its file is in between, and which version is recorded. */
export interface UsearchAdapterOptions {
  /**
   * A restore maps the file of the index, and does not load it: it takes no memory of its own, and cannot be changed.
   * The file was verified when it was mapped, and is not verified again. Default false.
   */
  view?: boolean | undefined
  /**
   * Where the file that usearch saves and loads is for a moment, as large as the index; no image is kept then. Default:
   * in the store, or in `os.tmpdir()` where the store has no room.
   */
  temporaryDirectory?: string | undefined
  /** Of the usearch package, where it cannot be found. */
  version?: string | undefined
}

/** Saves and restores a usearch index: `usearch(Index, { dimensions: 384, metric: MetricKind.Cos })`. */
export function usearch<Engine extends UsearchLike, Options extends UsearchOptions>(
  Index: UsearchClass<Engine, Options>,
  engineOptions: Options,
  options: UsearchAdapterOptions = {},
): EngineAdapter<Engine> {
  assertOptions('usearch', options, { view: 'boolean', temporaryDirectory: 'any', version: 'any' })
  if (typeof Index !== 'function') throw new TypeError('usearch: give the Index class, then its options')
  const { dimensions, metric = 'cos', quantization = 'f32', multi = false } = engineOptions
  if (!Number.isInteger(dimensions) || dimensions < 1) {
    throw new TypeError('usearch: { dimensions, metric, … } are the options that the index is made with')
  }
  const { temporaryDirectory, view = false } = options
  let empty: Buffer | null | undefined

  /** The header of an empty index with our options; null where this usearch writes a file that we do not know. */
  function ourHeader(directory: string | undefined): Buffer | null {
    if (empty === undefined) {
      const bytes = captureBytes(directory, (path) => new Index(engineOptions).save(path))
      empty = bytes.length === HEADER_BYTES && isHead(bytes.subarray(MATRIX_BYTES)) ? bytes : null
    }
    return empty
  }

  /** Null where this usearch writes a layout that we do not know, or this one does. */
  async function regionsOfFile(file: FileBytes, directory: string | undefined): Promise<Region[] | null> {
    if (file.size === 0) throw cutShort(directory, 'usearch', 0, 1)
    const ours = ourHeader(directory)
    if (ours === null) return null
    const header = await readHeader(file, directory)
    if (!isHead(header.subarray(MATRIX_BYTES))) return null
    if (!sameKind(header, ours)) {
      throw new TypeError(
        'usearch: the index has other dimensions, or another metric, quantization or multi, than the adapter',
      )
    }
    return regionsOf(header)
  }

  return {
    name: 'usearch',
    layout: 2,
    version: options.version ?? packageVersion('usearch'),
    options: { dimensions, metric, quantization, multi },
    readOnly: view,
    async save(engine, context) {
      const directory = temporaryDirectory ?? context.temporaryDirectory
      const ours = ourHeader(directory)
      const file = await context.saveFile((path) => engine.save(path), { temporaryDirectory })
      const regions = await regionsOfFile(file, directory)
      return {
        blobs: {},
        file,
        ...(regions === null ? {} : { regions }),
        metadata: ours === null ? {} : { fileVersion: versionOf(ours) },
        captured: true,
      }
    },
    restore(given, { signal }) {
      const option = '{ dimensions, metric, quantization, multi }'
      return restoring(given, { engine: 'usearch', option, signal }, async (saved) => {
        const engine = new Index(engineOptions)
        if (view && typeof engine.view !== 'function') throw new TypeError('usearch: this Index has no view()')
        const path = await saved.file({ mapped: view, temporaryDirectory })
        if (view) engine.view!(path)
        else engine.load(path)
        return engine
      })
    },
    refuses({ version: savedBy, state }, context) {
      // To save an empty index takes longer than to map a full one.
      if (savedBy !== undefined && savedBy === (options.version ?? packageVersion('usearch'))) return undefined
      const saved = state?.fileVersion
      if (!Array.isArray(saved)) return undefined
      const ours = ourHeader(temporaryDirectory ?? context.temporaryDirectory)
      if (ours === null || saved[0] === versionOf(ours)[0]) return undefined
      return `its file is of version ${saved.join('.')}, and this usearch reads only ${versionOf(ours)[0]}.x`
    },
  }
}

const MATRIX_BYTES = 8
const HEAD_BYTES = 64
const GRAPH_BYTES = 40
const HEADER_BYTES = MATRIX_BYTES + HEAD_BYTES + GRAPH_BYTES

function isHead(head: Buffer): boolean {
  return head.subarray(0, 7).equals(Buffer.from('usearch'))
}

function versionOf(header: Buffer): number[] {
  return [7, 9, 11].map((at) => header.readUInt16LE(MATRIX_BYTES + at))
}

/** The same metric, quantization, types of keys and links, dimensions, and `multi`. */
function sameKind(header: Buffer, ours: Buffer): boolean {
  return [
    [13, 17],
    [33, 42],
  ].every(([from, to]) => {
    const range = [MATRIX_BYTES + from!, MATRIX_BYTES + to!] as const
    return header.subarray(...range).equals(ours.subarray(...range))
  })
}

async function readHeader(file: FileBytes, directory: string | undefined): Promise<Buffer> {
  const header = Buffer.alloc(HEADER_BYTES)
  await file.read(header.subarray(0, MATRIX_BYTES), 0)
  const matrixBytes = header.readUInt32LE(0) * header.readUInt32LE(4)
  if (matrixBytes + HEADER_BYTES > file.size)
    throw cutShort(directory, 'usearch', file.size, matrixBytes + HEADER_BYTES)
  await file.read(header.subarray(MATRIX_BYTES), MATRIX_BYTES + matrixBytes)
  return header
}

/** The regions of a file with this header; null when it is no such file. */
function regionsOf(header: Buffer): Region[] | null {
  if (header.length !== HEADER_BYTES) return null
  const rows = header.readUInt32LE(0)
  const rowBytes = header.readUInt32LE(4)
  const graph = header.subarray(MATRIX_BYTES + HEAD_BYTES)
  const [count, links, baseLinks] = [0, 8, 16].map((at) => Number(graph.readBigUInt64LE(at)))
  if (!isHead(header.subarray(MATRIX_BYTES)) || count !== rows || rowBytes === 0) return null
  const linkBytes = 4 + 4 * links!
  const baseLinkBytes = 4 + 4 * baseLinks!
  if (!Number.isSafeInteger(count * (linkBytes + baseLinkBytes))) return null
  return [
    { count: 1, fields: [{ column: 'header', size: MATRIX_BYTES }] },
    { count: rows, fields: [{ column: 'vectors', size: rowBytes }] },
    { count: 1, fields: [{ column: 'header', size: HEAD_BYTES + GRAPH_BYTES }] },
    { count, fields: [{ column: 'levels', size: 2 }] },
    {
      count,
      fields: [
        { column: 'keys', size: 10 },
        { column: 'links', size: baseLinkBytes },
      ],
      // As many links as the node has levels above the lowest.
      tail: { column: 'upper', at: 8, width: 2, times: linkBytes, multipleOf: 1 },
    },
  ]
}
