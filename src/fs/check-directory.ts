import { spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import * as nodeFs from 'node:fs/promises'
import { basename, dirname, join, resolve } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { isHoldfastError } from '../errors.ts'
import { errorCode, lstatOrNull, readFully, statOrNull, writeFully } from './io.ts'
import { lockingChildArguments } from './lock.ts'
import { type Mount, mountOf, parseMounts } from './mounts.ts'
import { nodeFileSystem } from './node.ts'
import type { File, FileSystem } from './port.ts'
import { removeTree } from './temps.ts'

/** One thing that was tried. */
export interface DirectoryCheck {
  name:
    | 'directory'
    | 'writable'
    | 'exclusive-create'
    | 'rename'
    | 'open-files'
    | 'directory-fsync'
    | 'locks'
    | 'same-file-system'
    | 'free-space'
    | 'file-system'
    | 'network'
  ok: boolean
  /** What was found. */
  detail: string
  /** What to do about it. */
  advice?: string
}

/** What `checkDirectory` found. */
export interface DirectoryReport {
  /** All checks are. */
  ok: boolean
  /** What was looked at, links resolved: the directory, or the nearest one above that exists. */
  path: string
  /** Its type, such as `ext4`; `unknown` where the system does not say (macOS, Windows). */
  fileSystem: string
  checks: DirectoryCheck[]
  /** Bytes that this user may still write there; null when the system does not say. */
  freeBytes: number | null
}

/** What is asked of the system beside the file-system port. */
export interface DirectorySystem {
  platform: string
  /** fsync of a directory, with whatever the system answers. */
  syncDirectory(path: string): Promise<void>
  /** As statfs(2) counts: bytes this user may write; inodes in all (0 where none are counted, as on btrfs), and free. */
  freeSpace(path: string): Promise<FreeSpace>
  /** The text of /proc/self/mountinfo; null where there is none. */
  mounts(): Promise<string | null>
  /** Starts another process that tries to lock `path` when asked. */
  lockingProcess(path: string): Promise<LockingProcess>
}

interface FreeSpace {
  bytes: number
  files: number
  filesFree: number
}

export interface LockingProcess {
  /** `locked`, `held`, or why it failed. */
  tryLock(): Promise<string>
  /** Ends it as a crash would. */
  kill(): Promise<void>
}

const freeBytesDefault = 64 * 1024 * 1024

/**
 * Tries out whether a directory keeps what the store relies on: exclusive creation, renames that replace, fsync of
 * directories, locks between processes that end with their process, deleted files that stay readable while open, one
 * file system, free space; and tells what file system it is and whether it is a network's. It works in a directory of
 * its own inside the one given, and removes that again. When the directory does not exist yet, the nearest one above
 * that does is looked at.
 *
 * It starts one Node process for a moment, to contend for a lock. What it cannot find out is what the hardware does
 * with a flush, and whether locks exclude other machines.
 *
 * @param options.freeBytesMin less free space than this is not `ok`; default 64 MiB
 * @returns plain answers; failures of the file system are among them, and not thrown
 * @throws TypeError
 */
export async function checkDirectory(
  dir: string | URL,
  options: { freeBytesMin?: number } = {},
): Promise<DirectoryReport> {
  const given = dir instanceof URL && dir.protocol === 'file:' ? fileURLToPath(dir) : dir
  if (typeof given !== 'string' || given === '') {
    throw new TypeError(`checkDirectory: expected a path or a file: URL, got ${String(dir)}`)
  }
  const { freeBytesMin = freeBytesDefault } = options
  return await inspectDirectory(nodeFileSystem, thisSystem, resolve(given), freeBytesMin)
}

/** @internal */
export async function inspectDirectory(
  fs: FileSystem,
  system: DirectorySystem,
  wanted: string,
  freeBytesMin: number,
): Promise<DirectoryReport> {
  const report: DirectoryReport = { ok: false, path: wanted, fileSystem: 'unknown', checks: [], freeBytes: null }
  const { checks } = report
  const found = await nearestDirectory(fs, wanted)
  checks.push(found.check)
  report.path = found.path
  if (found.check.ok) {
    const probe = await makeProbe(fs, found.path)
    checks.push(probe.check)
    if (probe.path !== null) {
      try {
        checks.push(await attempt('exclusive-create', () => checkExclusiveCreate(fs, probe.path)))
        checks.push(await attempt('rename', () => checkRename(fs, probe.path)))
        checks.push(await attempt('open-files', () => checkOpenFiles(fs, probe.path)))
        checks.push(await attempt('directory-fsync', () => checkDirectorySync(system, probe.path)))
        checks.push(await attempt('locks', () => checkLocks(fs, system, probe.path)))
      } finally {
        await removeTree(fs, probe.path).catch((error: unknown) => {
          const left = `${probe.path}, where this was tried out, could not be removed: ${(error as Error).message}`
          checks.push({ name: 'writable', ok: false, detail: left })
        })
      }
    }
    checks.push(await attempt('same-file-system', () => checkSameFileSystem(fs, found.path)))
    checks.push(
      await attempt('free-space', async () => {
        const free = await system.freeSpace(found.path)
        report.freeBytes = free.bytes
        return judgeFreeSpace(free, freeBytesMin)
      }),
    )
    const mount = await findMount(fs, system, found.path)
    report.fileSystem = mount?.type ?? 'unknown'
    checks.push(judgeFileSystem(mount, system.platform), judgeNetwork(mount, system.platform, found.path))
  }
  report.ok = checks.every(({ ok }) => ok)
  return report
}

type Answer = Omit<DirectoryCheck, 'name'>

async function attempt(name: DirectoryCheck['name'], check: () => Promise<Answer>): Promise<DirectoryCheck> {
  try {
    return { name, ...(await check()) }
  } catch (error) {
    return { name, ok: false, detail: (error as Error).message }
  }
}

async function nearestDirectory(fs: FileSystem, wanted: string): Promise<{ path: string; check: DirectoryCheck }> {
  const name = 'directory'
  let path = wanted
  try {
    while ((await statOrNull(fs, path)) === null) {
      if ((await lstatOrNull(fs, path)) !== null) {
        return { path, check: { name, ok: false, detail: `${path} is a symbolic link that leads nowhere` } }
      }
      path = dirname(path)
    }
    const real = await fs.realpath(path)
    if ((await fs.stat(real)).kind !== 'directory') {
      return { path: real, check: { name, ok: false, detail: `${real} is not a directory` } }
    }
    const missing = path === wanted ? '' : `${wanted} does not exist yet; looked at `
    return { path: real, check: { name, ok: true, detail: `${missing}${real}` } }
  } catch (error) {
    return { path, check: { name, ok: false, detail: (error as Error).message } }
  }
}

async function makeProbe(
  fs: FileSystem,
  path: string,
): Promise<{ path: string; check: DirectoryCheck } | { path: null; check: DirectoryCheck }> {
  const name = 'writable'
  const probe = join(path, `.holdfast-check-${randomBytes(12).toString('hex')}`)
  try {
    await fs.mkdir(probe, 0o700)
    return { path: probe, check: { name, ok: true, detail: 'directories and files can be made' } }
  } catch (error) {
    const detail = `${(error as Error).message}; what needs writing was not tried`
    const advice =
      errorCode(error) === 'EROFS'
        ? 'it is mounted read-only: stores there can be opened with readOnly: true'
        : 'give this user the right to write there'
    return { path: null, check: { name, ok: false, detail, advice } }
  }
}

async function checkExclusiveCreate(fs: FileSystem, probe: string): Promise<Answer> {
  const path = join(probe, 'exclusive')
  await put(fs, path, 'first')
  try {
    await (await fs.open(path, 'create')).close()
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return { ok: true, detail: 'creating a file that exists is refused (O_EXCL)' }
    throw error
  }
  return {
    ok: false,
    detail: 'a file that exists was "created" once more: O_EXCL does not hold',
    advice: 'two writers could take the same file for their own: use another file system',
  }
}

async function checkRename(fs: FileSystem, probe: string): Promise<Answer> {
  // From a directory into another, as packs are: a quota project or a mount may stand between two directories.
  const from = join(probe, 'tmp')
  await fs.mkdir(from, 0o700)
  await put(fs, join(from, 'new'), 'new')
  await put(fs, join(probe, 'target'), 'old')
  await fs.rename(join(from, 'new'), join(probe, 'target'))
  const now = await take(await fs.open(join(probe, 'target'), 'read'))
  if (now === 'new' && (await lstatOrNull(fs, join(from, 'new'))) === null) {
    return { ok: true, detail: 'a rename replaces the target' }
  }
  return {
    ok: false,
    detail: `after a rename the target holds ${JSON.stringify(now)} and the source is ${now === 'new' ? 'still there' : 'gone'}`,
    advice: 'nothing can be replaced atomically here: use another file system',
  }
}

/** Readers keep packs open that a writer replaces and deletes. */
async function checkOpenFiles(fs: FileSystem, probe: string): Promise<Answer> {
  const path = join(probe, 'open')
  await put(fs, path, 'pinned')
  const file = await fs.open(path, 'read')
  try {
    await fs.unlink(path)
  } catch (error) {
    await file.close()
    throw error
  }
  const content = await take(file)
  if (content === 'pinned') return { ok: true, detail: 'an open file stays readable when it is deleted' }
  return {
    ok: false,
    detail: `an open file that was deleted gave ${JSON.stringify(content)}`,
    advice: 'snapshots that are open would break when a writer collects garbage: dispose of them before',
  }
}

async function checkDirectorySync(system: DirectorySystem, probe: string): Promise<Answer> {
  try {
    await system.syncDirectory(probe)
    return { ok: true, detail: 'a directory can be fsynced' }
  } catch (error) {
    return {
      ok: false,
      detail: `a directory cannot be fsynced: ${(error as Error).message}`,
      advice: 'after a power loss the newest snapshots may be missing; older ones are not harmed',
    }
  }
}

async function checkLocks(fs: FileSystem, system: DirectorySystem, probe: string): Promise<Answer> {
  const path = join(probe, 'lock')
  await put(fs, path, '')
  const file = await fs.open(path, 'update')
  try {
    if (!file.tryLock('exclusive')) return lockFailed('a new file that nobody else knows counts as locked')
    return await contendWithProcess(file, fs, system, path)
  } catch (error) {
    if (isHoldfastError(error, 'LOCK_UNAVAILABLE')) return lockFailed(error.message)
    throw error
  } finally {
    await file.close()
  }
}

async function contendWithProcess(held: File, fs: FileSystem, system: DirectorySystem, path: string): Promise<Answer> {
  let other: LockingProcess
  try {
    other = await system.lockingProcess(path)
  } catch (error) {
    return await contendHere(fs, path, (error as Error).message)
  }
  try {
    const whileHeld = await other.tryLock()
    if (whileHeld !== 'held') return lockFailed(`while this process held a lock, another was told: ${whileHeld}`)
    await held.close()
    const whenFree = await other.tryLock()
    if (whenFree !== 'locked') return lockFailed(`after this process let go, another was told: ${whenFree}`)
    const again = await fs.open(path, 'update')
    try {
      if (again.tryLock('exclusive')) return lockFailed('this process got a lock that another holds')
      await other.kill()
      if (!again.tryLock('exclusive')) return lockFailed('the lock of a killed process stays')
    } finally {
      await again.close()
    }
    return { ok: true, detail: 'locks exclude other processes of this machine, and end with their process' }
  } finally {
    await other.kill()
  }
}

/** The kernel's locks belong to open files, so that two of one process contend as those of two processes do. */
async function contendHere(fs: FileSystem, path: string, why: string): Promise<Answer> {
  const again = await fs.open(path, 'update')
  try {
    if (again.tryLock('exclusive')) return lockFailed('the same file could be locked twice')
    return { ok: true, detail: `a lock excludes another of this process; no other process was asked (${why})` }
  } finally {
    await again.close()
  }
}

function lockFailed(detail: string): Answer {
  return {
    ok: false,
    detail,
    advice: "keep the store where locks work, or make sure that one process writes and open it with lock: 'none'",
  }
}

/** What a store keeps in directories of their own, and renames between. */
const partsOfStore = ['packs', 'tmp', 'files', 'quarantine']

async function checkSameFileSystem(fs: FileSystem, path: string): Promise<Answer> {
  const { dev } = await fs.stat(path)
  const elsewhere: string[] = []
  for (const part of partsOfStore) {
    const stat = await statOrNull(fs, join(path, part))
    if (stat !== null && stat.dev !== dev) elsewhere.push(part)
  }
  if (elsewhere.length === 0) return { ok: true, detail: 'all of it is on one file system' }
  return {
    ok: false,
    detail: `${elsewhere.join(', ')} ${elsewhere.length === 1 ? 'is' : 'are'} on another file system than ${path}`,
    advice: 'files cannot be renamed between file systems: mount the whole store, not a part of it',
  }
}

function judgeFreeSpace({ bytes, files, filesFree }: FreeSpace, freeBytesMin: number): Answer {
  if (files > 0 && filesFree === 0)
    return { ok: false, detail: 'no inode is free', advice: 'remove files that are not needed' }
  const detail = `${Math.floor(bytes / (1024 * 1024))} MiB are free`
  if (bytes >= freeBytesMin) return { ok: true, detail }
  const wanted = Math.ceil(freeBytesMin / (1024 * 1024))
  return { ok: false, detail, advice: `have ${wanted} MiB free; a persist that does not fit fails and changes nothing` }
}

async function findMount(fs: FileSystem, system: DirectorySystem, path: string): Promise<Mount | null> {
  try {
    const text = await system.mounts()
    return text === null ? null : mountOf(parseMounts(text), path, (await fs.stat(path)).dev)
  } catch {
    return null
  }
}

/** In these, no acknowledged save was lost in recorded power losses: docs/durability.md. */
const measured = new Set(['ext4', 'xfs', 'btrfs'])
const inMemory = new Set(['tmpfs', 'ramfs', 'devtmpfs'])
const withoutJournal = new Set(['vfat', 'msdos', 'exfat', 'ext2', 'hfs', 'ufs'])
const network = new Set(
  'nfs nfs4 cifs smb3 smbfs 9p ceph afs lustre gpfs beegfs glusterfs virtiofs orangefs davfs coda ncpfs vboxsf prl_fs vmhgfs'.split(
    ' ',
  ),
)
/** Options by which a flush does nothing: mount(8), ext4(5), and overlayfs' documentation. */
const unflushed = ['nobarrier', 'barrier=0', 'volatile']

function isNetwork(type: string): boolean {
  // What a program in user space does with a file is unknown; most of them talk to a network.
  return network.has(type) || type === 'fuse' || type.startsWith('fuse.')
}

function judgeFileSystem(mount: Mount | null, platform: string): Answer & { name: 'file-system' } {
  const name = 'file-system'
  if (mount === null) return { name, ok: true, detail: `unknown: it cannot be told on ${platform}` }
  const { type, options } = mount
  const unsafe = options.find((option) => unflushed.includes(option))
  if (unsafe !== undefined) {
    const advice = 'after a power loss nothing written lately can be relied on: mount it without that option'
    return { name, ok: false, detail: `${type}, mounted with ${unsafe}: fsync does not reach the disk`, advice }
  }
  if (measured.has(type)) return { name, ok: true, detail: `${type}: measured to keep what was acknowledged` }
  if (inMemory.has(type)) {
    const advice = 'everything in it is gone when the machine stops: use a disk for what is to be kept'
    return { name, ok: false, detail: `${type}: kept in memory`, advice }
  }
  if (withoutJournal.has(type)) {
    const advice = 'use a file system with a journal (ext4, xfs, btrfs)'
    return {
      name,
      ok: false,
      detail: `${type}: without a journal, a power loss may damage the directory itself`,
      advice,
    }
  }
  if (type === 'overlay') {
    const advice = 'in a container this layer goes with the container: keep stores on a volume'
    return { name, ok: true, detail: 'overlay: it keeps what the file system under it keeps', advice }
  }
  return { name, ok: true, detail: `${type}: not one of those that were measured (${[...measured].join(', ')})` }
}

function judgeNetwork(mount: Mount | null, platform: string, path: string): Answer & { name: 'network' } {
  const name = 'network'
  const advice =
    'keep stores on a local disk. Locks may not exclude other machines, and a flush is the business of the other side'
  if (platform === 'win32' && path.startsWith('\\\\')) {
    return { name, ok: false, detail: `${path} is on another machine`, advice }
  }
  if (mount === null) return { name, ok: true, detail: `unknown: it cannot be told on ${platform}` }
  if (!isNetwork(mount.type)) return { name, ok: true, detail: `${mount.type} is local` }
  return { name, ok: false, detail: `${mount.type} at ${mount.mountPoint}: a network, or a program in between`, advice }
}

async function put(fs: FileSystem, path: string, content: string): Promise<void> {
  const file = await fs.open(path, 'create')
  try {
    await writeFully(file, [Buffer.from(content)], 0)
    await file.sync()
  } finally {
    await file.close()
  }
}

/** The content; closes the file. */
async function take(file: File): Promise<string> {
  try {
    const bytes = new Uint8Array(64)
    return Buffer.from(bytes.subarray(0, await readFully(file, bytes, 0))).toString()
  } finally {
    await file.close()
  }
}

/** The machine this runs on. @internal */
export const thisSystem: DirectorySystem = {
  platform: process.platform,
  async syncDirectory(path) {
    const directory = await nodeFs.open(path, 'r')
    try {
      await directory.sync()
    } finally {
      await directory.close()
    }
  },
  async freeSpace(path) {
    const { bavail, bsize, files, ffree } = await nodeFs.statfs(path, { bigint: true })
    return { bytes: Number(bavail * bsize), files: Number(files), filesFree: Number(ffree) }
  },
  async mounts() {
    return process.platform === 'linux' ? await nodeFs.readFile('/proc/self/mountinfo', 'utf8') : null
  },
  lockingProcess,
}

const answerMs = 10_000

async function lockingProcess(path: string): Promise<LockingProcess> {
  // In a single executable or Electron this is the application itself, and would start it once more.
  if (!/^node(js)?[\d.]*(\.exe)?$/i.test(basename(process.execPath)) || process.versions.electron !== undefined) {
    throw new Error(`${process.execPath} is not node`)
  }
  const env = { ...process.env }
  // Hooks, inspectors and loaders of this process are none of the child's.
  delete env.NODE_OPTIONS
  const child = spawn(process.execPath, lockingChildArguments(path), {
    env,
    stdio: ['pipe', 'pipe', 'ignore'],
    windowsHide: true,
  })
  const ended = once(child, 'close').then(
    () => 'its process ended',
    (error: unknown) => (error as Error).message,
  )
  child.stdin.on('error', () => undefined)
  const lines = createInterface({ input: child.stdout })
  async function kill(): Promise<void> {
    child.kill('SIGKILL')
    await ended
  }
  async function answer(): Promise<string> {
    const line = once(lines, 'line') as Promise<[string]>
    const late = sleep(answerMs, `no answer within ${answerMs} ms`, { ref: false })
    return await Promise.race([line.then(([text]) => text), ended, late])
  }
  const ready = await answer()
  if (ready !== 'ready') {
    await kill()
    throw new Error(ready)
  }
  return {
    kill,
    async tryLock() {
      const said = answer()
      child.stdin.write('\n')
      return await said
    },
  }
}
