import type { Random } from '../support/random.ts'
import type { DirectoryImage, FileImage } from './image.ts'
import { type DirectoryNode, type FileNode, fileNodeOf, type Node, syncNode } from './nodes.ts'

/** What is durable, and what is on its way. */
export interface Pending {
  root: DirectoryNode
  /** The names on the platter, of each directory that may be reached. */
  directories: ReadonlyMap<DirectoryNode, ReadonlyMap<string, Node>>
  files: ReadonlyMap<FileNode, PendingFile>
  /** Changes of names, oldest first. */
  changes: readonly Change[]
}

export type PendingFile = Pick<FileNode, 'stable' | 'pending' | 'lostPages' | 'mtimeMs'>

/**
 * What a crash may leave of a rename that was not synced.
 *
 * - `atomic`: all of it or nothing, and a sync of either directory makes all of it durable. Journals do this (ext4,
 *   xfs).
 * - `both`: the new name may come without the old one going: the file then stands under both. (btrfs with its tree log,
 *   f2fs; see CrashMonkey, OSDI '18, table 5.)
 * - `parts`: two changes that know nothing of each other, so that the file may also stand under neither name. POSIX
 *   allows it; ext2 does it.
 *
 * Renames of directories are always atomic.
 */
export type RenameModel = 'atomic' | 'both' | 'parts'

/** A change of names that reaches the platter whole or not at all. */
export interface Change {
  entries: readonly Entry[]
  /** Earlier changes of the same names: these come first. */
  needs: readonly Change[]
}

export interface Entry {
  directory: DirectoryNode
  name: string
  /** Null: the name is gone. */
  node: Node | null
}

interface Place {
  directory: DirectoryNode
  /** Empty for the root itself. */
  name: string
}

/** The tree of names: as processes see it, and what of it is on the platter. */
export interface Names {
  find(path: string): Node | null
  parent(path: string, failure: (code: string) => Error): Place
  change(entries: readonly Entry[]): void
  rename(from: Place, to: Place, node: Node): void
  createDirectory(mode: number, mtimeMs: number): DirectoryNode
  takeNumber(): bigint
  freeIfUnused(node: FileNode): void
  usedBytes(): number
  syncDirectory(directory: DirectoryNode): void
  /** A failed fsync after which the kernel takes the directory for clean. */
  loseDirectory(directory: DirectoryNode): void
  settle(): void
  pending(): Pending
  image(): DirectoryImage
}

export function createNames(image: DirectoryImage | null, model: RenameModel, random: Random): Names {
  const files = new Set<FileNode>()
  const freeNumbers: bigint[] = []
  let lastNumber = 1n
  let pending: Change[] = []
  const root = buildDirectory(image ?? { kind: 'directory', mode: 0o755, entries: new Map() }, new Map())

  function takeNumber(): bigint {
    // The last one freed first, as ext4 does: a new file easily has the number of one just deleted.
    const freed = freeNumbers.pop()
    if (freed !== undefined) return freed
    lastNumber += 1n
    return lastNumber
  }

  function buildDirectory(from: DirectoryImage, known: Map<FileImage, FileNode>): DirectoryNode {
    const directory = createDirectory(from.mode, 0)
    for (const [name, child] of from.entries) {
      directory.entries.set(name, child.kind === 'file' ? buildFile(child, known) : buildDirectory(child, known))
    }
    directory.stable = new Map(directory.entries)
    return directory
  }

  function buildFile(from: FileImage, known: Map<FileImage, FileNode>): FileNode {
    const node = known.get(from) ?? fileNodeOf({ content: from.content, mode: from.mode }, takeNumber(), from.mtimeMs)
    known.set(from, node)
    files.add(node)
    node.links += 1
    return node
  }

  function freeIfUnused(node: FileNode): void {
    if (node.links > 0 || node.opened > 0 || !files.delete(node)) return
    freeNumbers.push(node.number)
  }

  function createDirectory(mode: number, mtimeMs: number): DirectoryNode {
    return {
      kind: 'directory',
      number: takeNumber(),
      mode,
      mtimeMs,
      entries: new Map(),
      stable: new Map(),
      lost: new Set(),
    }
  }

  /** Components of a path; the first may be a process's own name for the root (see `realpath`). */
  function split(path: string): string[] {
    const parts = path.split('/').filter((part) => part !== '' && part !== '.')
    return parts[0]?.startsWith('@') === true ? parts.slice(1) : parts
  }

  function find(path: string): Node | null {
    let node: Node = root
    for (const part of split(path)) {
      const child: Node | undefined = node.kind === 'directory' ? node.entries.get(part) : undefined
      if (child === undefined) return null
      node = child
    }
    return node
  }

  /** What processes see, at once. */
  function apply({ directory, name, node }: Entry): void {
    const before = directory.entries.get(name)
    if (node === null) directory.entries.delete(name)
    else {
      directory.entries.set(name, node)
      if (node.kind === 'file') {
        node.links += 1
        files.add(node)
      }
    }
    if (before?.kind !== 'file') return
    before.links -= 1
    freeIfUnused(before)
  }

  function add(entries: readonly Entry[], alsoNeeds: readonly Change[] = []): Change {
    const needs = pending.filter((earlier) => earlier.entries.some((a) => entries.some((b) => isSameName(a, b))))
    const change: Change = { entries, needs: [...needs, ...alsoNeeds] }
    pending.push(change)
    return change
  }

  /** A directory's block is dirty as a whole again, with the names that an earlier failure lost. */
  function remember(directory: DirectoryNode): void {
    const { lost } = directory
    if (lost.size === 0) return
    directory.lost = new Set()
    for (const name of lost) add([{ directory, name, node: directory.entries.get(name) ?? null }])
  }

  function change(entries: readonly Entry[]): void {
    for (const entry of entries) apply(entry)
    add(entries)
    for (const { directory } of entries) remember(directory)
  }

  function persist(chosen: ReadonlySet<Change>): void {
    for (const each of pending) if (chosen.has(each)) for (const entry of each.entries) write(entry)
    pending = pending.filter((each) => !chosen.has(each))
  }

  function write({ directory, name, node }: Entry): void {
    if (node === null) directory.stable.delete(name)
    else directory.stable.set(name, node)
  }

  return {
    find,
    parent(path, failure) {
      const parts = split(path)
      const name = parts.pop() ?? ''
      const directory = find(parts.join('/'))
      if (directory === null) throw failure('ENOENT')
      if (directory.kind !== 'directory') throw failure('ENOTDIR')
      return { directory, name }
    },
    change,
    rename(from, to, node) {
      const gone: Entry = { ...from, node: null }
      const come: Entry = { ...to, node }
      apply(come)
      apply(gone)
      if (model === 'atomic' || node.kind === 'directory') add([come, gone])
      else {
        const first = add([come])
        add([gone], model === 'both' ? [first] : [])
      }
      remember(from.directory)
      remember(to.directory)
    },
    createDirectory,
    takeNumber,
    freeIfUnused,
    usedBytes: () => [...files].reduce((sum, { content }) => sum + content.length, 0),
    syncDirectory(directory) {
      const chosen = new Set<Change>()
      for (const each of pending) if (each.entries.some((entry) => entry.directory === directory)) include(each)
      persist(chosen)

      function include(each: Change): void {
        if (chosen.has(each)) return
        chosen.add(each)
        for (const need of each.needs) if (pending.includes(need)) include(need)
      }
    },
    loseDirectory(directory) {
      const chosen = new Set<Change>()
      const lost = new Set<Change>()
      for (const each of pending) {
        if (!each.entries.some((entry) => entry.directory === directory)) continue
        const ready = each.needs.every((need) => !lost.has(need) && (!pending.includes(need) || chosen.has(need)))
        if (ready && random.chance(0.5)) chosen.add(each)
        else lost.add(each)
      }
      persist(chosen)
      pending = pending.filter((each) => !lost.has(each))
      for (const { entries } of lost) for (const entry of entries) entry.directory.lost.add(entry.name)
    },
    settle() {
      persist(new Set(pending))
      for (const node of files) syncNode(node)
    },
    pending: () => gather(root, pending),
    image: () => imageOf(root, new Map()),
  }
}

function isSameName(a: Entry, b: Entry): boolean {
  return a.directory === b.directory && a.name === b.name
}

/** Everything that a crash now could leave, copied, since the disk goes on. */
function gather(root: DirectoryNode, changes: readonly Change[]): Pending {
  const directories = new Map<DirectoryNode, ReadonlyMap<string, Node>>()
  const files = new Map<FileNode, PendingFile>()
  function visit(node: Node): void {
    if (node.kind === 'file') {
      const { stable, pending, lostPages, mtimeMs } = node
      files.set(node, { stable, pending, lostPages, mtimeMs })
    } else if (!directories.has(node)) {
      directories.set(node, new Map(node.stable))
      for (const child of node.stable.values()) visit(child)
    }
  }
  visit(root)
  for (const { entries } of changes) for (const { node } of entries) if (node !== null) visit(node)
  return { root, directories, files, changes: [...changes] }
}

function imageOf(directory: DirectoryNode, known: Map<FileNode, FileImage>): DirectoryImage {
  const entries = new Map<string, DirectoryImage | FileImage>()
  for (const [name, node] of directory.entries) {
    if (node.kind === 'directory') {
      entries.set(name, imageOf(node, known))
      continue
    }
    const file = known.get(node) ?? { kind: 'file', mode: node.mode, content: node.content, mtimeMs: node.mtimeMs }
    known.set(node, file)
    entries.set(name, file)
  }
  return { kind: 'directory', mode: directory.mode, entries }
}
