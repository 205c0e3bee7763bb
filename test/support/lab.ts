import { expect } from 'vitest'
import { isHoldfastError } from '../../src/errors.ts'
import { blake3 } from '../../src/format/blake3.ts'
import { fixed } from '../../src/format/chunking.ts'
import { encodeHead, type Head, parseHead } from '../../src/format/head.ts'
import { toHex } from '../../src/format/hex.ts'
import { FOOTER_BYTES, HEADER_BYTES } from '../../src/format/limits.ts'
import { parsePackFooter, parsePackIndex } from '../../src/format/pack.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import type { PersistOptions } from '../../src/persist/options.ts'
import type { RepairReport } from '../../src/recovery/repair.ts'
import type { RepairOptions } from '../../src/recovery/repair-plan.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import type { Store, StoreOptions } from '../../src/store.ts'
import { createDisk, type Disk } from '../faulty-disk/disk.ts'
import { type DirectoryImage, type FileImage, keyOf, walk } from '../faulty-disk/image.ts'
import { storeOver } from '../support/store-over.ts'
import { noise, sameBytes } from './bytes.ts'

/*
 * Stores on a disk in memory. What lies on one is an image, which never changes: a test damages a copy, and many tests
 * can begin with the same store.
 */

const STORE = '/srv/store'

export interface LabOptions extends StoreOptions {
  readOnly?: boolean
  /** Name of the process. */
  process?: string
  /** What it sees of the disk. */
  through?: (fs: FileSystem) => FileSystem
}

/** A store as a new process finds it. */
export function open(disk: Disk, options: LabOptions = {}): Store {
  const { readOnly = false, process, through = (fs) => fs, ...settings } = options
  const fs = through(disk.start(process).fs)
  const storage = directoryStorage({ fs, path: STORE, readOnly, lock: 'os' })
  return storeOver(storage, fs, { onWarning: () => undefined, ...settings }, { readOnly })
}

/** What a store's directory holds once `steps` are done and it is closed. */
export async function build(steps: (store: Store) => Promise<unknown>, options?: LabOptions): Promise<DirectoryImage> {
  const disk = createDisk()
  const store = open(disk, options)
  await steps(store)
  await store.close()
  return disk.image()
}

/** Opens the store of an image for `use`; answers what `use` does, and what the disk holds then. */
export async function visit<T>(
  image: DirectoryImage,
  use: (store: Store, disk: Disk) => Promise<T>,
  options?: LabOptions,
): Promise<{ result: T; image: DirectoryImage }> {
  const disk = createDisk(image)
  const store = open(disk, options)
  const result = await use(store, disk)
  await store.close()
  return { result, image: disk.image() }
}

/** The store's files, by path below its directory. */
export function filesOf(image: DirectoryImage): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>()
  for (const [path, node] of walk(image)) {
    if (node.kind === 'file' && path.startsWith(`${STORE}/`)) files.set(path.slice(STORE.length + 1), node.content)
  }
  return files
}

export function fileOf(image: DirectoryImage, path: string): Uint8Array {
  const content = filesOf(image).get(path)
  if (content === undefined) throw new Error(`no file ${path}`)
  return content
}

export function packsOf(image: DirectoryImage): string[] {
  return [...filesOf(image).keys()].filter((path) => path.startsWith('packs/')).sort()
}

/** `packs/<name>.pack` → name. */
export function nameOf(path: string): string {
  return path.slice('packs/'.length, -'.pack'.length)
}

export function headOf(image: DirectoryImage, file = 'HEAD.json'): Head {
  return parseHead(fileOf(image, file), file).head
}

export function headBytes(head: Head): Uint8Array {
  return encodeHead(head)
}

/** The image with other contents in some of the store's files; null: without them. */
export function withFiles(image: DirectoryImage, changes: Record<string, Uint8Array | null>): DirectoryImage {
  let changed = image
  for (const [path, content] of Object.entries(changes))
    changed = put(changed, `${STORE}/${path}`.split('/').slice(1), content)
  return changed
}

function put(directory: DirectoryImage, [name, ...rest]: string[], content: Uint8Array | null): DirectoryImage {
  const entries = new Map(directory.entries)
  const child = entries.get(name!)
  if (rest.length > 0) {
    const inside = child?.kind === 'directory' ? child : { kind: 'directory' as const, mode: 0o700, entries: new Map() }
    entries.set(name!, put(inside, rest, content))
  } else if (content === null) entries.delete(name!)
  else entries.set(name!, { kind: 'file', mode: 0o600, content, mtimeMs: 0 } satisfies FileImage)
  return { ...directory, entries }
}

/** The bytes with one bit of byte `at` the other way round; negative: from the end. */
export function flipped(bytes: Uint8Array, at: number): Uint8Array {
  const copy = new Uint8Array(bytes)
  const index = at < 0 ? bytes.length + at : at
  copy[index]! ^= 1 << (index % 8)
  return copy
}

/** The image with one bit of a file flipped. */
export function rotten(image: DirectoryImage, path: string, at: number): DirectoryImage {
  return withFiles(image, { [path]: flipped(fileOf(image, path), at) })
}

/** A block of a pack, and where its stored bytes lie. */
export interface Block {
  digest: string
  kind: number
  offset: number
  bytes: number
}

export function blocksOf(image: DirectoryImage, path: string): Block[] {
  const bytes = fileOf(image, path)
  const { indexOffset, indexBytes } = parsePackFooter(bytes.slice(-FOOTER_BYTES), bytes.length, path)
  const index = parsePackIndex({
    name: nameOf(path),
    header: bytes.slice(0, HEADER_BYTES),
    index: bytes.slice(indexOffset, indexOffset + indexBytes),
    footer: bytes.slice(-FOOTER_BYTES),
    fileBytes: bytes.length,
    storeId: bytes.slice(16, 32),
    where: path,
  })
  return Array.from({ length: index.blocks }, (_, i) => ({
    digest: toHex(index.digest(i)),
    kind: index.kind(i),
    offset: index.offset(i),
    bytes: index.storedLength(i),
  }))
}

/** Flips a bit of a file of the store while processes use it. */
export async function rotOnDisk(disk: Disk, path: string, at: number): Promise<void> {
  const file = await disk.start().fs.open(`${STORE}/${path}`, 'update')
  const byte = fileOf(disk.image(), path)[at]!
  await file.write([Uint8Array.of(byte ^ 1)], at)
  await file.close()
}

/** Where a chunk lies: the first pack that has it. */
export function placeOf(image: DirectoryImage, chunk: Uint8Array): Block & { path: string } {
  const digest = toHex(blake3(chunk))
  for (const path of packsOf(image)) {
    const block = blocksOf(image, path).find((each) => each.digest === digest)
    if (block !== undefined) return { ...block, path }
  }
  throw new Error(`no pack has ${digest}`)
}

/** The image with a bit flipped in the first copy of a chunk. */
export function withRottenChunk(image: DirectoryImage, chunk: Uint8Array): DirectoryImage {
  const { path, offset } = placeOf(image, chunk)
  return rotten(image, path, offset + 7)
}

/** Chunk number `i` of a label's `index`. */
export function chunkOf(label: string, i: number): Uint8Array {
  return blobsOf(label).index!.slice(i * CHUNK, (i + 1) * CHUNK)
}

/** A disk on which the bytes [from, to) of the files that `where` picks cannot be read. */
export function badSectors(where: (path: string) => [from: number, to: number] | null) {
  return (fs: FileSystem): FileSystem => ({
    ...fs,
    async open(path, how, mode) {
      const file = await fs.open(path, how, mode)
      const bad = where(path)
      if (bad === null) return file
      return {
        ...file,
        readv: undefined,
        async read(target, position) {
          if (position < bad[1] && position + target.length > bad[0]) throw systemError('EIO', 'read')
          return await file.read(target, position)
        },
      }
    },
  })
}

export function systemError(code: string, syscall: string): NodeJS.ErrnoException {
  return Object.assign(new Error(`${code}: made up, ${syscall}`), { code, syscall, errno: -5 })
}

export const CHUNK = 512
const INDEX_CHUNKS = 4

/**
 * The blobs of a label: of `a1` and `a2` all chunks of `index` but one are the same, and `docs` differs. Of `a1` and
 * `b1` nothing is the same.
 */
export function blobsOf(label: string): Record<string, Uint8Array> {
  const series = label.charCodeAt(0)
  const change = Number(label.slice(1))
  const index = noise(INDEX_CHUNKS * CHUNK, series)
  index.set(noise(CHUNK, series * 1000 + change), (change % INDEX_CHUNKS) * CHUNK)
  return { index, docs: Buffer.from(`docs of ${label}`) }
}

export function persistOf(label: string): PersistOptions {
  const blobs = Object.entries(blobsOf(label)).map(([name, source]) => [name, { source, chunking: fixed(CHUNK) }])
  return { blobs: Object.fromEntries(blobs), metadata: { label } }
}

export function persisted(...labels: string[]): (store: Store) => Promise<void> {
  return async (store) => {
    for (const label of labels) await store.persist(persistOf(label))
  }
}

/** Two packs, each with all blocks of the same snapshot, and no record of any damage. */
export async function twoWholeCopies(): Promise<DirectoryImage> {
  const one = await build(persisted('a1'))
  const [path] = packsOf(one)
  const lost = withFiles(one, { [path!]: fileOf(one, path!).slice(0, 100) })
  const { image } = await visit(lost, async (store) => {
    await store.verify()
    await store.persist(persistOf('a1'))
  })
  const head = { ...headOf(image), damaged: [] }
  return withFiles(image, { [path!]: fileOf(one, path!), 'HEAD.json': encodeHead(head) })
}

/**
 * The history as a user sees it, read byte for byte: `<sequence> <label>`, then the flags and tags; what cannot be read
 * has its error's code in place of the label.
 */
export async function historyOf(store: Store): Promise<string[]> {
  const lines: string[] = []
  for (const { sequence, tags, abandoned, current } of await store.snapshots()) {
    const flags = [...(current ? ['current'] : []), ...(abandoned ? ['abandoned'] : []), ...tags]
    lines.push([sequence, await labelOf(store, sequence), ...flags].join(' '))
  }
  return lines
}

/** The label of a snapshot whose every byte is that of its label; the code of the error that reading it meets. */
export async function labelOf(store: Store, at?: number): Promise<string> {
  try {
    await using snapshot = await store.load(at === undefined ? {} : { at })
    if (snapshot === null) return 'null'
    const label = String(snapshot.metadata.label)
    for (const [name, bytes] of Object.entries(blobsOf(label))) {
      if (!sameBytes(await snapshot.blob(name).bytes(), bytes)) throw new Error(`wrong bytes in ${name} of ${label}`)
    }
    return label
  } catch (error) {
    if (isHoldfastError(error)) return error.code
    throw error
  }
}

/** What is seen of a store once it was repaired. */
export interface Repaired {
  report: RepairReport
  history: string[]
  image: DirectoryImage
}

/**
 * Repairs a store, and checks what every repair must keep: the plan is what is done, nothing is lost, verify is clean,
 * a second repair has nothing to do, persists work.
 */
export async function repaired(
  damaged: DirectoryImage,
  request: RepairOptions = {},
  options: LabOptions = {},
): Promise<Repaired> {
  const planned = await visit(damaged, (store) => store.repair({ ...request, dryRun: true }), options)
  expect(keyOf(planned.image), 'a dry run wrote to the disk').toBe(keyOf(damaged))
  const { result: report, image } = await visit(damaged, (store) => store.repair(request), options)
  expect(report.actions).toEqual(planned.result.actions)
  expect(report.snapshots).toEqual(planned.result.snapshots)
  expect(report).toMatchObject({ ok: false, applied: true })
  expectNothingLost(damaged, image)
  const history = await expectSound(image, options)
  expect(history.map((line) => Number(line.split(' ')[0]))).toEqual(report.snapshots)
  return { report, history, image }
}

/** Verify is clean, every snapshot can be read, repair has nothing to do, and a persist works. Answers the history. */
export async function expectSound(image: DirectoryImage, options: LabOptions = {}): Promise<string[]> {
  const { result: history } = await visit(image, historyOf, options)
  expect(
    history.filter((line) => /[A-Z]{3}/.test(line)),
    'cannot be read',
  ).toEqual([])
  const verified = await visit(image, (store) => store.verify(), options)
  expect(verified.result).toMatchObject({ ok: true, problems: [] })
  const again = await visit(image, (store) => store.repair(), options)
  expect(again.result).toMatchObject({ ok: true, applied: false, actions: [] })
  expect(keyOf(again.image), 'a repair of a sound store wrote to the disk').toBe(keyOf(image))
  const before = headOf(image)
  const persisted = await visit(image, async (store) => {
    const { sequence } = await store.persist({ ...persistOf('z9'), keepLast: 1000 })
    expect(await historyOf(store)).toEqual([
      `${sequence} z9 current`,
      ...history.map((line) => line.replace(' current', '')),
    ])
    return sequence
  })
  expect(persisted.result).toBe(before.sequence + 1)
  const after = await visit(persisted.image, (store) => store.verify(), options)
  expect(after.result).toMatchObject({ ok: true, problems: [] })
  return history
}

/** Whatever lay there is there, or in quarantine with a note, byte for byte. */
export function expectNothingLost(before: DirectoryImage, after: DirectoryImage): void {
  const now = filesOf(after)
  const aside = [...now].filter(([path]) => path.startsWith('quarantine/'))
  for (const [path, bytes] of filesOf(before)) {
    if (path === 'writer.lock' || path.startsWith('tmp/')) continue
    const there = now.get(path)
    if (there !== undefined && sameBytes(there, bytes)) continue
    const name = path.split('/').at(-1)!
    const found = aside.find(([to, content]) => to.startsWith(`quarantine/${name}.`) && sameBytes(content, bytes))
    expect(found, `${path} is lost`).toBeDefined()
    expect(now.has(`${found![0]}.json`), `there is no note with ${found![0]}`).toBe(true)
  }
}

/** `action pack-or-file-or-sequence` of each action, with packs called by the labels that `names` gives. */
export function actionsOf(report: RepairReport, names: Record<string, string> = {}): string[] {
  return report.actions.map((action) => {
    const what =
      'pack' in action
        ? (names[action.pack] ?? action.pack)
        : 'file' in action
          ? action.file
          : 'sequence' in action
            ? action.sequence
            : 'to' in action
              ? action.to
              : 'from' in action
                ? action.from
                : ''
    const reason = 'reason' in action ? ` ${action.reason}` : ''
    return `${action.action} ${what}${reason}`.trim()
  })
}
