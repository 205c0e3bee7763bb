// Makes a directory and its missing parents durable before anything is put into them.

import { dirname, resolve } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { withDirectory } from './durable.ts'
import { errorCode, ioError, statOrNull } from './io.ts'
import type { FileSystem } from './port.ts'

/**
 * Makes a directory and its missing parents. Each becomes durable in its parent before anything is put into it.
 *
 * @param mode exact permission bits of the directories that are made, whatever the umask
 * @returns whether it was made; false if it was there
 * @throws IO_FAILED, also when something other than a directory is there; NO_SPACE
 */
export async function makeDirectory(fs: FileSystem, path: string, mode: number): Promise<boolean> {
  try {
    return await makeWithParents(fs, resolve(path), mode)
  } catch (error) {
    throw ioError(error, `making the directory ${path}`)
  }
}

async function makeWithParents(fs: FileSystem, path: string, mode: number): Promise<boolean> {
  if (await isDirectory(fs, path)) return false
  const parent = dirname(path)
  if (parent !== path) await makeWithParents(fs, parent, mode)
  return await withDirectory(fs, parent, async (directory) => {
    const made = await makeOne(fs, path, mode)
    // Needed even if another process made the directory: it may not have fsynced it yet, or may die before.
    await directory.sync()
    return made
  })
}

async function makeOne(fs: FileSystem, path: string, mode: number): Promise<boolean> {
  try {
    await fs.mkdir(path, mode)
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error
    if (await isDirectory(fs, path)) return false
    throw notADirectory(path, 'a link that leads nowhere')
  }
  const made = await fs.stat(path)
  // Keeps the set-group-id bit that a parent passes on.
  if ((made.mode & 0o777) !== mode) await fs.chmod(path, (made.mode & ~0o777) | mode).catch(() => undefined)
  return true
}

async function isDirectory(fs: FileSystem, path: string): Promise<boolean> {
  const stat = await statOrNull(fs, path)
  if (stat === null) return false
  if (stat.kind === 'directory') return true
  throw notADirectory(path, stat.kind === 'file' ? 'a file' : 'something else')
}

function notADirectory(path: string, found: string): HoldfastError {
  return new HoldfastError(
    'IO_FAILED',
    `${path} should be a directory and is ${found}: move it away, or use another path`,
    {
      details: { code: 'ENOTDIR', path },
    },
  )
}
