// Tries in a directory what a store needs: locks, links, renames and fsync. It works in a directory of its own and
// removes it.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { isHoldfastError } from '../errors.ts'
import { term } from '../terms.ts'
import type { DirectorySystem, LockingProcess } from './directory-system.ts'
import { errorCode, lstatOrNull, readFully, writeFully } from './io.ts'
import type { Answer } from './judge-directory.ts'
import { locksAvailable } from './lock.ts'
import type { File, FileSystem } from './port.ts'

export async function makeProbe(
  fs: FileSystem,
  path: string,
): Promise<{ path: string; answer: Answer } | { path: null; answer: Answer }> {
  const probe = join(path, `.holdfast-check-${randomBytes(12).toString('hex')}`)
  try {
    await fs.mkdir(probe, 0o700)
    return { path: probe, answer: { ok: true, detail: 'directories and files can be made' } }
  } catch (error) {
    const code = errorCode(error)
    const detail = `${code ?? (error as Error).message}: no directory can be made; what needs writing was not tried`
    const advice =
      code === 'EROFS'
        ? `it is mounted read-only: stores there ${term('openedReadOnly')}`
        : 'give this user the right to write there'
    return { path: null, answer: { ok: false, detail, advice } }
  }
}

export async function checkExclusiveCreate(fs: FileSystem, probe: string): Promise<Answer> {
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

export async function checkRename(fs: FileSystem, probe: string): Promise<Answer> {
  // Renames between two directories, as packs are renamed: they may have different mounts or quota projects.
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

/** Readers keep packs open while a writer deletes them. */
export async function checkOpenFiles(fs: FileSystem, probe: string): Promise<Answer> {
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

export async function checkDirectorySync(system: DirectorySystem, probe: string): Promise<Answer> {
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

export async function checkLocks(fs: FileSystem, system: DirectorySystem, probe: string): Promise<Answer> {
  const path = join(probe, 'lock')
  await put(fs, path, '')
  const file = await fs.open(path, 'update')
  try {
    if (!file.tryLock('exclusive')) return lockFailed('a new file that nobody else knows counts as locked')
    return await contendWithProcess(file, fs, system, path)
  } catch (error) {
    // If the addon is missing, another directory does not help, and advice to use no locks would be wrong.
    const advice = locksAvailable().available
      ? LOCK_ADVICE
      : 'install the package fs-native-extensions where this program finds it'
    if (isHoldfastError(error, 'LOCK_UNAVAILABLE')) return lockFailed(error.message, advice)
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

/** Kernel locks belong to open files, so two open files of one process contend as those of two processes do. */
async function contendHere(fs: FileSystem, path: string, why: string): Promise<Answer> {
  const again = await fs.open(path, 'update')
  try {
    if (again.tryLock('exclusive')) return lockFailed('the same file could be locked twice')
    return { ok: true, detail: `a lock excludes another of this process; no other process was asked (${why})` }
  } finally {
    await again.close()
  }
}

const LOCK_ADVICE =
  "keep the store where locks work, or make sure that one process writes and open it with lock: 'none'"

function lockFailed(detail: string, advice = LOCK_ADVICE): Answer {
  return { ok: false, detail, advice }
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
