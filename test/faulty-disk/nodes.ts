import type { Random } from '../support/random.ts'

// What lies on the disk: files and directories, each as processes see it (the page cache) and as it is on the platter.

/** Linux writes back pages; a page is also the largest unit that the tests tear at. */
export const PAGE_BYTES = 4096

/** Content arrays are never changed once they are here: states of a disk share them. */
export interface Version {
  content: Uint8Array
  mode: number
}

export interface FileNode extends Version {
  kind: 'file'
  /** The inode number. */
  number: bigint
  mtimeMs: number
  /** On the platter. */
  stable: Version
  /** Each state since, oldest first. A crash leaves a mixture of these and the stable one. */
  pending: readonly Version[]
  /** Pages whose write-back failed: clean for the kernel, so no sync writes them again; the platter has what it had. */
  lostPages: ReadonlySet<number>
  /**
   * As the kernel's errseq_t (Documentation/core-api/errseq.rst): a descriptor reports those that came after it was
   * opened, once.
   */
  writebackErrors: number
  /** How many names lead to it, and how many descriptors. */
  links: number
  opened: number
  locks: Map<object, 'exclusive' | 'shared'>
}

export interface DirectoryNode {
  kind: 'directory'
  number: bigint
  mode: number
  mtimeMs: number
  entries: Map<string, Node>
  /** On the platter. */
  stable: Map<string, Node>
  /** Names whose change was forgotten by a failed fsync; written again with the next change of this directory. */
  lost: Set<string>
}

export type Node = FileNode | DirectoryNode

const EMPTY = new Uint8Array(0)

export function createFileNode(number: bigint, mode: number, mtimeMs: number): FileNode {
  return fileNodeOf({ content: EMPTY, mode }, number, mtimeMs)
}

/** A file that is on the platter as it is. */
export function fileNodeOf(version: Version, number: bigint, mtimeMs: number): FileNode {
  return {
    kind: 'file',
    number,
    mtimeMs,
    ...version,
    stable: version,
    pending: [],
    lostPages: new Set(),
    writebackErrors: 0,
    links: 0,
    opened: 0,
    locks: new Map(),
  }
}

export function writeNode(node: FileNode, bytes: Uint8Array, position: number): void {
  const content = new Uint8Array(Math.max(node.content.length, position + bytes.length))
  content.set(node.content)
  content.set(bytes, position)
  node.content = content
  node.pending = [...node.pending, { content, mode: node.mode }]
  if (node.lostPages.size === 0) return
  // A page that is written to is dirty as a whole again.
  const first = Math.floor(position / PAGE_BYTES)
  const last = Math.floor((position + bytes.length - 1) / PAGE_BYTES)
  node.lostPages = new Set([...node.lostPages].filter((page) => page < first || page > last))
}

export function setMode(node: FileNode, mode: number): void {
  node.mode = mode
  node.pending = [...node.pending, { content: node.content, mode }]
}

/** fsync: what is dirty is written. Pages that were lost are not dirty. */
export function syncNode(node: FileNode): void {
  if (node.pending.length === 0) return
  node.stable = { content: withStablePages(node, node.lostPages), mode: node.mode }
  node.pending = []
}

/** fdatasync: as fsync, but the mode may stay behind. */
export function syncData(node: FileNode): void {
  if (node.pending.length === 0) return
  const { mode } = node.stable
  const content = withStablePages(node, node.lostPages)
  node.stable = { content, mode }
  node.pending = node.mode === mode ? [] : [{ content, mode: node.mode }]
}

/** The write-back of what is dirty fails: of each page it came through or did not, and none is dirty any more. */
export function writebackFails(node: FileNode, random: Random): void {
  node.writebackErrors += 1
  if (node.pending.length === 0) return
  const lost = new Set(node.lostPages)
  for (let page = 0; page * PAGE_BYTES < node.content.length; page++) if (random.chance(0.5)) lost.add(page)
  const whole = withStablePages(node, lost)
  // The inode with the length is written by the journal, apart from the pages.
  const length = random.chance(0.5) ? node.content.length : Math.min(node.stable.content.length, node.content.length)
  node.stable = { content: whole.subarray(0, length), mode: node.mode }
  node.pending = []
  node.lostPages = lost
}

/** The cached content, but these pages as they are on the platter; zeros where it has none. */
function withStablePages(node: FileNode, pages: ReadonlySet<number>): Uint8Array {
  if (pages.size === 0) return node.content
  const content = node.content.slice()
  for (const page of pages) {
    const start = page * PAGE_BYTES
    content.fill(0, start, start + PAGE_BYTES)
    if (start < content.length)
      content.set(node.stable.content.subarray(start, start + PAGE_BYTES).subarray(0, content.length - start), start)
  }
  return content
}
