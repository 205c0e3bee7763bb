import { HoldfastError } from '../../src/errors.ts'
import type { Directory, DirectoryEntry, File, FileStat, FileSystem } from '../../src/fs/port.ts'
import { createRandom, type Random } from '../support/random.ts'
import { type DirectoryImage, walk } from './image.ts'
import { createNames, type Names, type Pending, type RenameModel } from './names.ts'
import {
  createFileNode,
  type DirectoryNode,
  type FileNode,
  type Node,
  setMode,
  syncData,
  syncNode,
  writebackFails,
  writeNode,
} from './nodes.ts'

/*
 * A disk in memory that behaves as a real one may, below the real code. What it does wrong:
 *
 * Power loss (`pending()` says what is not durable, `crash-states.ts` which states that may leave):
 *   - bytes, lengths and modes of a file are durable after `sync` of that file, and not before; bytes and lengths, but
 *     not modes, after `dataSync`; neither makes the file's name durable, nor the reverse
 *   - names are durable after `syncDirectory` of their directory: files made, renamed, removed; directories made and
 *     removed. What is not synced is kept in any order, or lost: a removed file comes back, a made directory is gone
 *     with all that is in it
 *   - writes are reordered and torn at 512 bytes or 4 KiB; lengths survive without bytes (zeros, garbage, another
 *     file's old bytes) and bytes without lengths
 *   - a rename without the data of its file, and the data without the rename
 *   - a rename whole or not at all, or old name and new name both, or its two halves each on their own (`rename`
 *     option)
 *
 * Errors, on whichever call `onCall` says:
 *   - any error code from any call: EIO, ENOSPC, EMFILE, ENFILE, EINTR, EACCES, EPERM, EROFS …; before anything was
 *     done, or after it was done all the same (a rename over a network, whose answer got lost)
 *   - short reads and writes
 *   - fsync or fdatasync that fails once, and from then on succeeds without the data ever being written, for files and
 *     for directories
 *   - write-back in the background that fails: the page is clean, its bytes are gone, and only a descriptor that was
 *     open then is told, once, by its next fsync
 *   - a bit that flips in what is read: once, or on the platter
 *   - a full disk (`capacityBytes`): a write that is cut short, then ENOSPC
 *   - locks that cannot be had
 *
 * Processes: several share the disk, each with its own descriptors. Locks belong to open files and go with `close`,
 * with the death of the process and with the power. A killed process fails in every call and changes nothing. Inode
 * numbers are used again as soon as nobody has the file. Modes, times and identities are kept as a file system does.
 * `gate` may hold any call back, to let another go first.
 *
 * It is the same for the same calls and seed. Not modelled: symbolic links, permissions (EACCES is injected), memory
 * maps, a failing journal, bits that rot while nobody reads (see `rot`).
 */

export type CallName =
  | 'open'
  | 'read'
  | 'write'
  | 'sync'
  | 'dataSync'
  | 'fstat'
  | 'fchmod'
  | 'lock'
  | 'close'
  | 'rename'
  | 'link'
  | 'clone'
  | 'unlink'
  | 'mkdir'
  | 'rmdir'
  | 'readdir'
  | 'stat'
  | 'lstat'
  | 'realpath'
  | 'chmod'
  | 'syncDirectory'

export interface Call {
  /** Counted from 1, over all processes. */
  number: number
  name: CallName
  path: string
  process: string
}

/** What goes wrong with one call. */
export interface Fault {
  /** Its code. */
  error?: string
  /** It fails, and yet is done. */
  done?: boolean
  /** `sync`, `syncDirectory`: what was to be written is forgotten; some of it may have come through. */
  lose?: boolean
  /** `write`: is done, but its write-back fails in the background. */
  writebackFails?: boolean
  /** `read`, `write`: at most so many bytes. */
  short?: number
  /** `read`: this bit of what is read is wrong; counted modulo the bits read. */
  flip?: number
}

export interface DiskOptions {
  seed?: number
  rename?: RenameModel
  capacityBytes?: number
  /** Files can share their blocks: `clone` works. Default true. */
  clones?: boolean
}

/** A process of the machine that the disk is in. */
export interface Process {
  readonly name: string
  readonly fs: FileSystem
  readonly alive: boolean
  /** Descriptors that it has not closed. */
  openFiles(): string[]
  kill(): void
}

export interface Disk {
  readonly random: Random
  /** Calls so far. */
  readonly calls: number
  /** The last calls, as text, for messages. */
  readonly log: readonly string[]
  /** Time as files get it, in ms. Moves on by one with every change; may be set. */
  nowMs: number
  onCall: ((call: Call) => Fault | undefined) | null
  /** Called after every change of what the disk holds or has pending. */
  onChange: ((call: Call) => void) | null
  /** A call waits for what this answers. */
  gate: ((call: Call) => Promise<void>) | null
  start(name?: string): Process
  kill(): void
  /** All of it reaches the platter: the machine was left alone for a while. */
  settle(): void
  pending(): Pending
  /** What processes see, durable or not. */
  image(): DirectoryImage
  /** Flips some bit of a file, on the platter and in the cache. */
  rot(path: string, random: Random): void
}

const LOG_LENGTH = 400
/** Device number of every disk. */
const DEVICE = 1n

let processes = 0

/** Time goes on from disk to disk. */
function newestIn(image: DirectoryImage | null): number {
  let newest = 1_700_000_000_000
  if (image !== null)
    for (const [, node] of walk(image)) if (node.kind === 'file') newest = Math.max(newest, node.mtimeMs)
  return newest
}

export function createDisk(image: DirectoryImage | null = null, options: DiskOptions = {}): Disk {
  const random = createRandom(options.seed ?? 1)
  const capacityBytes = options.capacityBytes ?? Number.POSITIVE_INFINITY
  const clones = options.clones ?? true
  const names: Names = createNames(image, options.rename ?? 'atomic', random)
  const log: string[] = []
  const running = new Set<Process>()
  let calls = 0

  const disk: Disk = {
    random,
    get calls() {
      return calls
    },
    log,
    nowMs: newestIn(image),
    onCall: null,
    onChange: null,
    gate: null,
    start,
    kill() {
      for (const process of running) process.kill()
    },
    settle: () => names.settle(),
    pending: () => names.pending(),
    image: () => names.image(),
    rot(path, bits) {
      const node = names.find(path)
      if (node?.kind !== 'file') throw new Error(`no file ${path}`)
      const content = node.stable.content.slice()
      const at = bits.below(content.length)
      content[at] = content[at]! ^ (1 << bits.below(8))
      node.stable = { ...node.stable, content }
      node.pending = []
      node.content = content
    },
  }
  return disk

  function changed(call: Call): void {
    disk.nowMs += 1
    disk.onChange?.(call)
  }

  function start(name = `process ${++processes}`): Process {
    // Our code keeps what a process knows of a store in a map, by real path: each process has real paths of its own.
    const alias = `@${++processes}`
    const handles = new Set<() => void>()
    const opened = new Map<object, string>()
    let alive = true

    function assertAlive(): void {
      if (!alive) throw new Error(`${name} was killed`)
    }

    /** Counts the call, holds it back, kills it, fails it; else does it. */
    async function perform<T>(callName: CallName, path: string, action: (fault: Fault, call: Call) => T): Promise<T> {
      assertAlive()
      const call: Call = { number: ++calls, name: callName, path, process: name }
      if (disk.gate !== null) {
        await disk.gate(call)
        assertAlive()
      }
      return decide(call, action)
    }

    function decide<T>(call: Call, action: (fault: Fault, call: Call) => T): T {
      if (log.length >= LOG_LENGTH) log.shift()
      const fault = disk.onCall?.(call) ?? NONE
      log.push(`${call.number} ${name}: ${call.name} ${call.path}${fault === NONE ? '' : ` ${JSON.stringify(fault)}`}`)
      if (fault.error !== undefined && fault.done !== true && fault.lose !== true) throw failure(fault.error, call)
      const result = action(fault, call)
      if (fault.error !== undefined) throw failure(fault.error, call)
      return result
    }

    /** The node of an existing file or directory. */
    function lookUp(path: string, call: Call): Node {
      const node = names.find(path)
      if (node === null) throw failure('ENOENT', call)
      return node
    }

    function lookUpDirectory(path: string, call: Call): DirectoryNode {
      const node = lookUp(path, call)
      if (node.kind !== 'directory') throw failure('ENOTDIR', call)
      return node
    }

    function syncDirectory(node: DirectoryNode, { error, lose }: Fault, call: Call): void {
      if (lose === true) names.loseDirectory(node)
      else if (error === undefined) names.syncDirectory(node)
      changed(call)
    }

    function openDirectory(node: DirectoryNode, path: string): Directory {
      const handle = {}
      opened.set(handle, path)
      return {
        sync: () => perform('syncDirectory', path, (fault, call) => syncDirectory(node, fault, call)),
        closeSync: () => void opened.delete(handle),
      }
    }

    function openFile(node: FileNode, path: string, canWrite: boolean): File {
      const handle = { seenErrors: node.writebackErrors }
      let underWay = 0
      let idle: (() => void) | null = null
      let closing: Promise<void> | null = null
      node.opened += 1
      handles.add(release)
      opened.set(handle, path)

      function release(): void {
        if (!handles.delete(release)) return
        opened.delete(handle)
        node.opened -= 1
        node.locks.delete(handle)
        names.freeIfUnused(node)
      }

      async function operate<T>(callName: CallName, action: (fault: Fault, call: Call) => T): Promise<T> {
        assertAlive()
        if (closing !== null) throw failure('EBADF', { number: calls, name: callName, path, process: name })
        underWay += 1
        try {
          return await perform(callName, path, action)
        } finally {
          underWay -= 1
          if (underWay === 0) idle?.()
        }
      }

      function syncFile({ error, lose }: Fault, call: Call, write: (node: FileNode) => void): void {
        if (lose === true) {
          writebackFails(node, random)
        } else if (error === undefined) {
          write(node)
        }
        changed(call)
        const failed = handle.seenErrors < node.writebackErrors
        handle.seenErrors = node.writebackErrors
        if (failed) throw failure('EIO', call)
      }

      async function close(): Promise<void> {
        if (underWay > 0) {
          await new Promise<void>((resolve) => {
            idle = resolve
          })
        }
        if (!alive) return
        try {
          await perform('close', path, () => undefined)
        } finally {
          // Linux lets the descriptor go whatever close answers (close(2)).
          release()
        }
      }

      return {
        read: (target, position) =>
          operate('read', ({ short, flip }) => {
            const length = Math.min(target.length, short ?? target.length)
            const part = node.content.subarray(position, position + length)
            target.set(part)
            if (flip !== undefined && part.length > 0) target[(flip >> 3) % part.length]! ^= 1 << (flip & 7)
            return part.length
          }),
        write: (views, position) =>
          operate('write', (fault, call) => {
            const wanted = views.reduce((sum, view) => sum + view.length, 0)
            const allowed = Math.min(wanted, fault.short ?? wanted)
            const room = capacityBytes - names.usedBytes() + Math.max(0, node.content.length - position)
            const length = Math.min(allowed, room)
            if (length <= 0 && wanted > 0) throw failure('ENOSPC', call)
            writeNode(node, Buffer.concat(views).subarray(0, length), position)
            node.mtimeMs = disk.nowMs
            if (fault.writebackFails === true) writebackFails(node, random)
            changed(call)
            return length
          }),
        sync: () => operate('sync', (fault, call) => syncFile(fault, call, syncNode)),
        dataSync: () => operate('dataSync', (fault, call) => syncFile(fault, call, syncData)),
        stat: () => operate('fstat', () => statOf(node)),
        chmod: (mode) =>
          operate('fchmod', (_fault, call) => {
            setMode(node, mode)
            changed(call)
          }),
        tryLock(mode) {
          assertAlive()
          const call: Call = { number: ++calls, name: 'lock', path, process: name }
          try {
            return decide(call, () => {
              // fcntl_locking(2): an exclusive lock asks for a descriptor open for writing.
              if (mode === 'exclusive' && !canWrite) throw failure('EBADF', call)
              for (const [other, held] of node.locks) {
                if (other !== handle && (mode === 'exclusive' || held === 'exclusive')) return false
              }
              node.locks.set(handle, mode)
              return true
            })
          } catch (cause) {
            throw new HoldfastError('LOCK_UNAVAILABLE', `no lock for ${path}`, { cause })
          }
        },
        close() {
          closing ??= close()
          return closing
        },
        closeSync() {
          if (closing === null && underWay === 0) {
            closing = Promise.resolve()
            release()
          } else {
            closing ??= close()
            closing.catch(() => undefined)
          }
        },
      }
    }

    function statOf(node: Node): FileStat {
      const timeNs = BigInt(node.mtimeMs) * 1_000_000n
      const size = node.kind === 'file' ? node.content.length : 4096
      return { kind: node.kind, size, mode: node.mode, dev: DEVICE, ino: node.number, mtimeNs: timeNs, ctimeNs: timeNs }
    }

    const fs: FileSystem = {
      open: (path, how, mode = 0o600) =>
        perform('open', path, (_fault, call) => {
          const { directory, name: base } = names.parent(path, (code) => failure(code, call))
          const node = base === '' ? directory : directory.entries.get(base)
          if (node === undefined) {
            if (how === 'read' || how === 'update') throw failure('ENOENT', call)
            const file = createFileNode(names.takeNumber(), mode, disk.nowMs)
            names.change([{ directory, name: base, node: file }])
            const opened = openFile(file, path, true)
            changed(call)
            return opened
          }
          if (how === 'create') throw failure('EEXIST', call)
          if (node.kind === 'directory') throw failure('EISDIR', call)
          return openFile(node, path, how !== 'read')
        }),
      rename: (from, to) =>
        perform('rename', `${from} ${to}`, (_fault, call) => {
          const old = names.parent(from, (code) => failure(code, call))
          const target = names.parent(to, (code) => failure(code, call))
          const node = old.directory.entries.get(old.name)
          if (node === undefined) throw failure('ENOENT', call)
          const replaced = target.directory.entries.get(target.name)
          if (replaced === node) return
          if (node.kind === 'file' && replaced?.kind === 'directory') throw failure('EISDIR', call)
          if (node.kind === 'directory' && replaced?.kind === 'file') throw failure('ENOTDIR', call)
          if (replaced?.kind === 'directory' && replaced.entries.size > 0) throw failure('ENOTEMPTY', call)
          names.rename(old, target, node)
          changed(call)
        }),
      link: (existing, path) =>
        perform('link', `${existing} ${path}`, (_fault, call) => {
          const node = lookUp(existing, call)
          const { directory, name: base } = names.parent(path, (code) => failure(code, call))
          if (node.kind === 'directory') throw failure('EPERM', call)
          if (base === '' || directory.entries.has(base)) throw failure('EEXIST', call)
          names.change([{ directory, name: base, node }])
          changed(call)
        }),
      clone: (from, path) =>
        perform('clone', `${from} ${path}`, (_fault, call) => {
          if (!clones) throw failure('ENOTSUP', call)
          const node = lookUp(from, call)
          const { directory, name: base } = names.parent(path, (code) => failure(code, call))
          if (node.kind === 'directory') throw failure('EISDIR', call)
          if (base === '' || directory.entries.has(base)) throw failure('EEXIST', call)
          const clone = createFileNode(names.takeNumber(), node.mode, disk.nowMs)
          names.change([{ directory, name: base, node: clone }])
          writeNode(clone, Buffer.from(node.content), 0)
          changed(call)
        }),
      unlink: (path) =>
        perform('unlink', path, (_fault, call) => {
          const { directory, name: base } = names.parent(path, (code) => failure(code, call))
          const node = directory.entries.get(base)
          if (node === undefined) throw failure('ENOENT', call)
          if (node.kind === 'directory') throw failure('EISDIR', call)
          names.change([{ directory, name: base, node: null }])
          changed(call)
        }),
      mkdir: (path, mode) =>
        perform('mkdir', path, (_fault, call) => {
          const { directory, name: base } = names.parent(path, (code) => failure(code, call))
          if (base === '' || directory.entries.has(base)) throw failure('EEXIST', call)
          names.change([{ directory, name: base, node: names.createDirectory(mode, disk.nowMs) }])
          changed(call)
        }),
      rmdir: (path) =>
        perform('rmdir', path, (_fault, call) => {
          const { directory, name: base } = names.parent(path, (code) => failure(code, call))
          const node = directory.entries.get(base)
          if (node === undefined) throw failure('ENOENT', call)
          if (node.kind !== 'directory') throw failure('ENOTDIR', call)
          if (node.entries.size > 0) throw failure('ENOTEMPTY', call)
          names.change([{ directory, name: base, node: null }])
          changed(call)
        }),
      readdir: (path) =>
        perform('readdir', path, (_fault, call) => {
          const node = lookUp(path, call)
          if (node.kind !== 'directory') throw failure('ENOTDIR', call)
          return [...node.entries].map(([entry, { kind }]): DirectoryEntry => ({ name: entry, kind }))
        }),
      stat: (path) => perform('stat', path, (_fault, call) => statOf(lookUp(path, call))),
      lstat: (path) => perform('lstat', path, (_fault, call) => statOf(lookUp(path, call))),
      realpath: (path) =>
        perform('realpath', path, (_fault, call) => {
          lookUp(path, call)
          return `/${alias}${path}`
        }),
      chmod: (path, mode) =>
        perform('chmod', path, (_fault, call) => {
          const node = lookUp(path, call)
          if (node.kind === 'file') setMode(node, mode)
          else node.mode = mode
          changed(call)
        }),
      async syncDirectory(path) {
        const directory = await this.openDirectory(path)
        try {
          await directory.sync()
        } finally {
          directory.closeSync()
        }
      },
      openDirectory: (path) =>
        perform('open', path, (_fault, call) => openDirectory(lookUpDirectory(path, call), path)),
    }

    const process: Process = {
      name,
      fs,
      get alive() {
        return alive
      },
      openFiles: () => [...opened.values()],
      kill() {
        alive = false
        running.delete(process)
        for (const release of [...handles]) release()
      },
    }
    running.add(process)
    return process
  }
}

const NONE: Fault = {}

function failure(code: string, call: Call): NodeJS.ErrnoException {
  const { name, path } = call
  // Most of these say that there is no such file. Where that was is of no interest, and costs more than all the rest.
  const { stackTraceLimit } = Error
  Error.stackTraceLimit = 0
  const error = new Error(`${code}: made up, ${name} '${path}'`)
  Error.stackTraceLimit = stackTraceLimit
  return Object.assign(error, { code, syscall: name, path, errno: -1 })
}
