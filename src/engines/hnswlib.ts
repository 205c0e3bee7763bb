// The adapter for hnswlib-node. Of a BruteforceSearch see hnswlib-bruteforce.ts. A HierarchicalNSW writes its memory as
// it is: a header, a record for each element (links of the lowest level, vector, label), and for each element the links
// of its upper levels, with their size before them. Deleted elements are marked in their links, and stay. The columns:
//
//    header    96 bytes: counts, sizes and offsets
//    links     of the lowest level, with the mark of deleted elements
//    vectors
//    labels
//    levels    a 32-bit number for each element: bytes of its upper links
//    upper     those links

import type { Region } from '../format/regions.ts'
import { cutShort, type FileBytes } from '../local/saved-file.ts'
import { assertOptions } from '../misuse.ts'
import type { EngineAdapter } from './adapter.ts'
import { restoring } from './engine-failed.ts'
import { type BruteforceLike, restoreBruteforce, saveBruteforce } from './hnswlib-bruteforce.ts'
import { packageVersion } from './version.ts'

/** What is called of a `HierarchicalNSW`. */
export interface HnswlibLike {
  writeIndexSync(path: string): void
  readIndex(path: string, allowReplaceDeleted?: boolean): Promise<unknown>
  resizeIndex(maxElements: number): void
  getNumDimensions(): number
  getMaxElements(): number
  getCurrentCount(): number
  getEf(): number
  setEf(ef: number): void
}

/** What is called of the class. */
export type HnswlibClass<Engine extends HnswlibLike, Space extends string> = new (
  space: Space,
  dimensions: number,
) => Engine

/** The class that compares a query with every vector. */
export type BruteforceClass<Engine extends BruteforceLike, Space extends string> = new (
  space: Space,
  dimensions: number,
) => Engine

/** The options that the index was made with. A restore needs the same ones. */
export interface HnswlibOptions<Space extends string = 'l2' | 'ip' | 'cosine'> {
  space: Space
  /** Dimensions of the vectors. */
  dim: number
  /** As given to `initIndex`: hnswlib does not save it, so the adapter does. Default what was saved, or false. */
  allowReplaceDeleted?: boolean | undefined
}

/** Where the adapter keeps its file in between, and which version it records. */
export interface HnswlibAdapterOptions {
  /**
   * Where the file that hnswlib saves and loads is for a moment, as large as the index; no image is kept then. Default:
   * in the store, or in `os.tmpdir()` where the store has no room.
   */
  temporaryDirectory?: string | undefined
  /** Of the hnswlib-node package, where it cannot be found. */
  version?: string | undefined
}

/**
 * Saves and restores an hnswlib-node index: `hnswlib(HierarchicalNSW, { space: 'cosine', dim: 384 })`. A
 * `BruteforceSearch` is taken, too; its vectors are added to a new one, so those of the space `cosine` are normalised
 * once more and may differ in their last bit.
 */
export function hnswlib<Engine extends HnswlibLike, Space extends string>(
  HierarchicalNSW: HnswlibClass<Engine, Space>,
  engineOptions: HnswlibOptions<Space>,
  options?: HnswlibAdapterOptions,
): EngineAdapter<Engine>
/** As above, of a `BruteforceSearch`. */
export function hnswlib<Engine extends BruteforceLike, Space extends string>(
  BruteforceSearch: BruteforceClass<Engine, Space>,
  engineOptions: HnswlibOptions<Space>,
  options?: HnswlibAdapterOptions,
): EngineAdapter<Engine>
export function hnswlib<Space extends string>(
  Index: HnswlibClass<HnswlibLike, Space> | BruteforceClass<BruteforceLike, Space>,
  engineOptions: HnswlibOptions<Space>,
  options: HnswlibAdapterOptions = {},
): unknown {
  assertOptions('hnswlib', options, { temporaryDirectory: 'any', version: 'any' })
  if (typeof Index !== 'function') {
    throw new TypeError('hnswlib: give the class HierarchicalNSW or BruteforceSearch, then { space, dim }')
  }
  const { space, dim, allowReplaceDeleted } = engineOptions
  if (typeof space !== 'string' || !Number.isInteger(dim) || dim < 1) {
    throw new TypeError('hnswlib: { space, dim } are those that the index is made with')
  }
  const identity = { name: 'hnswlib', layout: 2, version: options.version ?? packageVersion('hnswlib-node') }
  if (!isBruteforce(Index)) return hierarchical(Index, identity, engineOptions, options.temporaryDirectory)
  if (allowReplaceDeleted !== undefined) {
    throw new TypeError('hnswlib: a BruteforceSearch has no allowReplaceDeleted: what is removed is gone')
  }
  return bruteforce(Index, identity, engineOptions, options.temporaryDirectory)
}

/** Of the two classes, the one that has links has something to set for a search. */
function isBruteforce<Space extends string>(
  Index: HnswlibClass<HnswlibLike, Space> | BruteforceClass<BruteforceLike, Space>,
): Index is BruteforceClass<BruteforceLike, Space> {
  const { removePoint, resizeIndex } = (Index.prototype ?? {}) as { removePoint?: unknown; resizeIndex?: unknown }
  return typeof removePoint === 'function' && typeof resizeIndex !== 'function'
}

/** What an index is read with, in words. */
const OPTION = '{ space, dim }'

type Identity = Pick<EngineAdapter<unknown>, 'name' | 'layout' | 'version'>

function assertDimensions(engine: { getNumDimensions(): number }, dim: number): void {
  const has = engine.getNumDimensions()
  if (has !== dim) throw new TypeError(`hnswlib: the adapter is for ${dim} dimensions, and the index has ${has}`)
}

function bruteforce<Space extends string>(
  BruteforceSearch: BruteforceClass<BruteforceLike, Space>,
  identity: Identity,
  { space, dim }: HnswlibOptions<Space>,
  temporaryDirectory: string | undefined,
): EngineAdapter<BruteforceLike> {
  return {
    ...identity,
    options: { space, dim, search: 'bruteforce' },
    save(engine, context) {
      assertDimensions(engine, dim)
      return saveBruteforce(engine, dim, temporaryDirectory ?? context.temporaryDirectory)
    },
    restore(given, { signal }) {
      return restoring(given, { engine: 'hnswlib', option: OPTION, signal }, async (saved) => {
        const engine = new BruteforceSearch(space, dim)
        await restoreBruteforce(engine, saved, dim, signal)
        return engine
      })
    },
  }
}

function hierarchical<Space extends string>(
  HierarchicalNSW: HnswlibClass<HnswlibLike, Space>,
  identity: Identity,
  { space, dim, allowReplaceDeleted }: HnswlibOptions<Space>,
  temporaryDirectory: string | undefined,
): EngineAdapter<HnswlibLike> {
  return {
    ...identity,
    options: { space, dim },
    async save(engine, context) {
      assertDimensions(engine, dim)
      const metadata = {
        maxElements: engine.getMaxElements(),
        ef: engine.getEf(),
        ...(allowReplaceDeleted === undefined ? {} : { allowReplaceDeleted }),
      }
      // At one go: written in another thread, as `writeIndex` does, what is added meanwhile would be there by halves.
      const file = await context.saveFile((path) => engine.writeIndexSync(path), { temporaryDirectory })
      const regions = await regionsOfFile(file, dim, temporaryDirectory ?? context.temporaryDirectory)
      return { blobs: {}, file, ...(regions === null ? {} : { regions }), metadata, captured: true }
    },
    restore(given, { signal }) {
      return restoring(given, { engine: 'hnswlib', option: OPTION, signal }, async (saved) => {
        const path = await saved.file({ temporaryDirectory })
        const engine = new HierarchicalNSW(space, dim)
        const { maxElements, ef, allowReplaceDeleted: remembered } = saved.metadata
        await engine.readIndex(path, allowReplaceDeleted ?? remembered === true)
        // hnswlib takes the capacity of an empty index to be 0.
        if (typeof maxElements === 'number' && engine.getMaxElements() < maxElements) engine.resizeIndex(maxElements)
        if (typeof ef === 'number') engine.setEf(ef)
        return engine
      })
    },
  }
}

const HEADER_BYTES = 96

async function regionsOfFile(file: FileBytes, dim: number, directory: string | undefined): Promise<Region[] | null> {
  if (file.size === 0) throw cutShort(directory, 'hnswlib', 0, 1)
  const header = Buffer.alloc(HEADER_BYTES)
  return (await file.read(header, 0)) === HEADER_BYTES ? regionsOf(header, dim) : null
}

/** The offsets in the header follow from each other; where they do not, it is something else. */
function regionsOf(header: Buffer, dim: number): Region[] | null {
  if (header.length !== HEADER_BYTES) return null
  const word = (at: number): number => Number(header.readBigUInt64LE(at))
  const [offsetLevel0, maxElements, count, recordBytes, labelOffset, vectorOffset] = [0, 8, 16, 24, 32, 40].map(word)
  const [maxLinks, maxLinks0] = [56, 64].map(word)
  const linkBytes = maxLinks! * 4 + 4
  const vectorBytes = dim * 4
  const fits =
    offsetLevel0 === 0 &&
    count! <= maxElements! &&
    vectorOffset === maxLinks0! * 4 + 4 &&
    labelOffset === vectorOffset + vectorBytes &&
    recordBytes === labelOffset + 8 &&
    maxLinks! > 0 &&
    Number.isSafeInteger(count! * recordBytes)
  if (!fits) return null
  return [
    { count: 1, fields: [{ column: 'header', size: HEADER_BYTES }] },
    {
      count: count!,
      fields: [
        { column: 'links', size: vectorOffset! },
        { column: 'vectors', size: vectorBytes },
        { column: 'labels', size: 8 },
      ],
    },
    {
      count: count!,
      fields: [{ column: 'levels', size: 4 }],
      tail: { column: 'upper', at: 0, width: 4, times: 1, multipleOf: linkBytes },
    },
  ]
}
