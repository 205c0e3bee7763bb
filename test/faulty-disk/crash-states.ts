import type { Random } from '../support/random.ts'
import type { DirectoryImage, FileImage } from './image.ts'
import type { Change, Pending, PendingFile } from './names.ts'
import type { DirectoryNode, FileNode, Node } from './nodes.ts'
import { PAGE_BYTES } from './nodes.ts'

/*
 * Which states a power loss may leave. A state is legal when something that calls itself a POSIX file system on a disk
 * with a volatile cache could leave it; all that our code may rely on is what was fsynced.
 *
 * Files. Between two fsyncs there is no order: each block has any of the values it had since (the kernel writes back
 * pages when it likes, a disk reorders sectors; Pillai et al., "All File Systems Are Not Created Equal", OSDI '14,
 * which calls these properties content and size atomicity and ordering, and found none of them kept by all file
 * systems). Blocks are 512 bytes (a sector) or 4 KiB (a page), per state. The length is any it had since, or a block
 * boundary between them (i_size moves as pages are written). Where the length covers what was never written there are
 * zeros (delayed allocation), or garbage: whatever the blocks held before (ext4 with data=writeback), among it pieces
 * of other files of the same store, which look most like the real thing.
 *
 * Names. Any set of the changes that were not synced is kept; changes of the same name stay in order, since a directory
 * is one structure on the disk. This is the "any order" persistence of ALICE. Journals that keep a prefix of the
 * changes (ext4, xfs: CrashMonkey and ACE, Mohan et al., OSDI '18) leave a part of these states, and those are always
 * among the ones tried. What a crash may do to a rename: `RenameModel`.
 *
 * fsync makes all of a file durable, whoever wrote it through whatever descriptor, and no name (fsync(2): "Calling
 * fsync() does not necessarily ensure that the entry in the directory containing the file has also reached disk"). A
 * file whose name is kept but whose data is not exists, empty or torn.
 *
 * Small spaces of states are gone through exhaustively; of larger ones the corners (nothing, everything, every prefix,
 * every change alone and every change missing) and then as many by chance as asked for.
 */

export interface CrashOptions {
  /** States at most. */
  limit: number
  random: Random
}

export interface CrashStates {
  states: DirectoryImage[]
  /** These are all there are, but for what garbage may look like. */
  exhaustive: boolean
}

export function crashStates(pending: Pending, options: CrashOptions): CrashStates {
  const { limit, random } = options
  const all = closedSets(pending.changes, limit)
  const sets = all ?? someClosedSets(pending.changes, limit, random)
  const trees = sets.map((kept) => treeOf(pending, kept))
  const total = trees.reduce((sum, tree) => sum + countVariants(tree, limit), 0)
  if (all !== null && total <= limit) {
    return { states: trees.flatMap((tree) => everyVariant(tree, random)), exhaustive: true }
  }
  const states: DirectoryImage[] = []
  for (const tree of shuffled(trees, random)) {
    if (states.length + 2 > limit) break
    states.push(render(tree, (file) => imageOfVersion(file, file.pending.at(-1) ?? file.stable)))
    if (isDirty(tree)) states.push(render(tree, (file) => imageOfVersion(file, file.stable)))
  }
  const dirty = trees.filter(isDirty)
  while (dirty.length > 0 && states.length < limit) {
    states.push(render(random.pick(dirty), (file) => someVariant(file, pending, random)))
  }
  return { states, exhaustive: false }
}

/** The least that may be left: only what was made durable. */
export function leastState(pending: Pending): DirectoryImage {
  return render(treeOf(pending, new Set()), (file) => imageOfVersion(file, file.stable))
}

/** One state by chance. */
export function someState(pending: Pending, random: Random): DirectoryImage {
  const kept = random.pick(someClosedSets(pending.changes, 8, random))
  return render(treeOf(pending, kept), (file) => someVariant(file, pending, random))
}

/** All sets of changes that hold what their members need; null when there are more than `limit`. */
function closedSets(changes: readonly Change[], limit: number): Set<Change>[] | null {
  const here = new Set(changes)
  let sets: Set<Change>[] = [new Set()]
  for (const change of changes) {
    const withIt = sets
      .filter((set) => change.needs.every((need) => set.has(need) || !here.has(need)))
      .map((set) => new Set(set).add(change))
    sets = [...sets, ...withIt]
    if (sets.length > limit) return null
  }
  return sets
}

function someClosedSets(changes: readonly Change[], limit: number, random: Random): Set<Change>[] {
  const sets: Set<Change>[] = [new Set(), new Set(changes)]
  // The newest changes matter most: the older ones belong to what was acknowledged long ago or to temporary files.
  for (let newest = 1; newest <= changes.length && sets.length < limit; newest++) {
    const at = changes.length - newest
    sets.push(new Set(changes.slice(0, at)))
    sets.push(closed(changes, (change) => change !== changes[at]))
    sets.push(withNeeds(changes[at]!))
  }
  while (sets.length < limit) {
    const probability = random.pick([0.2, 0.5, 0.8])
    sets.push(closed(changes, () => random.chance(probability)))
  }
  return sets.slice(0, limit)
}

/** Those wanted, less those that need one which is not. */
function closed(changes: readonly Change[], wanted: (change: Change) => boolean): Set<Change> {
  const here = new Set(changes)
  const kept = new Set<Change>()
  for (const change of changes) {
    if (wanted(change) && change.needs.every((need) => kept.has(need) || !here.has(need))) kept.add(change)
  }
  return kept
}

function withNeeds(change: Change): Set<Change> {
  const kept = new Set<Change>()
  function include(each: Change): void {
    if (kept.has(each)) return
    kept.add(each)
    for (const need of each.needs) include(need)
  }
  include(change)
  return kept
}

/** The names after a crash that kept some changes, and the files they lead to. */
interface Tree {
  root: DirectoryNode
  entries: ReadonlyMap<DirectoryNode, ReadonlyMap<string, Node>>
  files: ReadonlyMap<FileNode, PendingFile>
}

function treeOf(pending: Pending, kept: ReadonlySet<Change>): Tree {
  const entries = new Map<DirectoryNode, Map<string, Node>>()
  for (const [directory, stable] of pending.directories) entries.set(directory, new Map(stable))
  for (const change of pending.changes) {
    if (!kept.has(change)) continue
    for (const { directory, name, node } of change.entries) {
      const names = entries.get(directory)
      if (node === null) names?.delete(name)
      else names?.set(name, node)
    }
  }
  const files = new Map<FileNode, PendingFile>()
  function visit(node: Node): void {
    if (node.kind === 'file') files.set(node, pending.files.get(node)!)
    else for (const child of entries.get(node)!.values()) visit(child)
  }
  visit(pending.root)
  return { root: pending.root, entries, files }
}

function isDirty(tree: Tree): boolean {
  return [...tree.files.values()].some(({ pending }) => pending.length > 0)
}

function render(tree: Tree, imageOf: (file: PendingFile) => FileImage): DirectoryImage {
  const files = new Map<FileNode, FileImage>()
  function directory(node: DirectoryNode): DirectoryImage {
    const entries = new Map<string, DirectoryImage | FileImage>()
    for (const [name, child] of tree.entries.get(node)!) {
      entries.set(name, child.kind === 'directory' ? directory(child) : file(child))
    }
    return { kind: 'directory', mode: node.mode, entries }
  }
  function file(node: FileNode): FileImage {
    const image = files.get(node) ?? imageOf(tree.files.get(node)!)
    files.set(node, image)
    return image
  }
  return directory(tree.root)
}

function imageOfVersion({ mtimeMs }: PendingFile, { content, mode }: { content: Uint8Array; mode: number }): FileImage {
  return { kind: 'file', mode, content, mtimeMs }
}

/** What one block may hold: a view of a version's bytes, or null for a place that no version on the platter covers. */
type Block = Uint8Array | null

interface Choices {
  blockBytes: number
  blocks: Block[][]
  lengths: number[]
}

function choicesOf(file: PendingFile, blockBytes: number): Choices {
  const versions = [file.stable, ...file.pending]
  const longest = Math.max(...versions.map(({ content }) => content.length))
  const blocks: Block[][] = []
  for (let at = 0; at < longest; at += blockBytes) {
    const lost = file.lostPages.has(Math.floor(at / PAGE_BYTES))
    const candidates: Block[] = []
    for (const { content } of lost ? [file.stable] : versions) {
      const block = content.length > at ? content.subarray(at, at + blockBytes) : null
      if (!candidates.some((other) => isSameBlock(other, block))) candidates.push(block)
    }
    blocks.push(candidates)
  }
  const lengths = new Set(versions.map(({ content }) => content.length))
  const [shortest] = [...lengths].sort((a, b) => a - b)
  for (let at = Math.ceil(shortest! / blockBytes) * blockBytes; at < longest; at += blockBytes) lengths.add(at)
  return { blockBytes, blocks, lengths: [...lengths] }
}

function isSameBlock(a: Block, b: Block): boolean {
  return a === null || b === null ? a === b : Buffer.compare(a, b) === 0
}

/** How many states the files of a tree may be in; anything above `limit` means "too many". */
function countVariants(tree: Tree, limit: number): number {
  let count = 1
  for (const file of tree.files.values()) {
    if (file.pending.length === 0) continue
    const { blocks, lengths } = choicesOf(file, 512)
    count *= lengths.length
    // A hole is zeros or garbage.
    for (const candidates of blocks) count *= candidates.length + (candidates.includes(null) ? 1 : 0)
    if (count > limit) return limit + 1
  }
  return count
}

function everyVariant(tree: Tree, random: Random): DirectoryImage[] {
  let states: Map<PendingFile, FileImage>[] = [new Map()]
  for (const file of new Set(tree.files.values())) {
    const variants = file.pending.length === 0 ? [imageOfVersion(file, file.stable)] : everyImage(file, random)
    states = states.flatMap((state) => variants.map((variant) => new Map(state).set(file, variant)))
  }
  return states.map((state) => render(tree, (file) => state.get(file)!))
}

function everyImage(file: PendingFile, random: Random): FileImage[] {
  const { blockBytes, blocks, lengths } = choicesOf(file, 512)
  let contents: Uint8Array[][] = [[]]
  for (const candidates of blocks) {
    const filled = candidates.flatMap((block) =>
      block === null ? [new Uint8Array(blockBytes), random.bytes(blockBytes)] : [block],
    )
    contents = contents.flatMap((before) => filled.map((block) => [...before, block]))
  }
  const { mode } = file.pending.at(-1)!
  return contents.flatMap((parts) =>
    lengths.map((length) => imageOfVersion(file, { content: joined(parts, blockBytes, length), mode })),
  )
}

function someVariant(file: PendingFile, pending: Pending, random: Random): FileImage {
  if (file.pending.length === 0) return imageOfVersion(file, file.stable)
  const { blockBytes, blocks, lengths } = choicesOf(file, random.pick([512, PAGE_BYTES]))
  const garbage = random.chance(0.5)
  const newest = random.pick([0, 0.1, 0.5, 0.9, 1])
  const parts = blocks.map((candidates, i) => {
    const block = random.chance(newest) ? candidates.at(-1)! : random.pick(candidates)
    if (block !== null) return block
    return garbage ? someGarbage(pending, i * blockBytes, blockBytes, random) : new Uint8Array(blockBytes)
  })
  const length = random.chance(0.5) ? Math.max(...lengths) : random.pick(lengths)
  const { mode } = random.pick([file.stable, ...file.pending])
  return imageOfVersion(file, { content: joined(parts, blockBytes, length), mode })
}

/** What freed blocks held: noise, or a piece of another file, at the same place in it or from its start. */
function someGarbage(pending: Pending, at: number, length: number, random: Random): Uint8Array {
  const others = [...pending.files.values()].map(({ stable }) => stable.content).filter((content) => content.length > 0)
  const bytes = random.bytes(length)
  if (others.length === 0 || random.chance(0.3)) return bytes
  const other = random.pick(others)
  bytes.fill(0)
  bytes.set((other.length > at && random.chance(0.7) ? other.subarray(at) : other).subarray(0, length))
  return bytes
}

function joined(parts: readonly Uint8Array[], blockBytes: number, length: number): Uint8Array {
  const content = new Uint8Array(length)
  for (const [i, part] of parts.entries()) {
    const at = i * blockBytes
    if (at < length) content.set(part.subarray(0, length - at), at)
  }
  return content
}

function shuffled<T>(items: readonly T[], random: Random): T[] {
  const left = [...items]
  const order: T[] = []
  while (left.length > 0) order.push(left.splice(random.below(left.length), 1)[0]!)
  return order
}
