// Moves a file aside, with a note that says why. Nothing is deleted.

import { basename, dirname, resolve } from 'node:path'
import { isHoldfastError } from '../errors.ts'
import { commitUnknown } from './durable.ts'
import { ioError, lstatOrNull } from './io.ts'
import { isAsideName, moveAside } from './move-aside.ts'
import type { FileSystem } from './port.ts'

interface QuarantineOptions {
  reason: string
  /** Where to; default the directory that it is in. */
  directory?: string | undefined
  details: Readonly<Record<string, unknown>>
  now: Date
}

/** See `quarantine` in `src/durable.ts`. */
export async function quarantinePath(fs: FileSystem, path: string, options: QuarantineOptions): Promise<string | null> {
  const from = resolve(path)
  if ((await look(fs, from)) === null) return null
  if (isAsideName(basename(from))) return from
  const { reason, details, now } = options
  try {
    return await moveAside(fs, { from, quarantineDirectory: options.directory ?? dirname(from), reason, details, now })
  } catch (error) {
    // Another process was faster.
    if (isHoldfastError(error, 'IO_FAILED') && error.details.code === 'ENOENT' && (await look(fs, from)) === null) {
      return null
    }
    throw commitUnknown(error, from, 'was moved into quarantine', 'it may be back')
  }
}

async function look(fs: FileSystem, path: string): Promise<object | null> {
  try {
    return await lstatOrNull(fs, path)
  } catch (error) {
    throw ioError(error, `looking at ${path}`)
  }
}
