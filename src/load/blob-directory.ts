// The blobs that came from one directory, written out as a directory again.

import { basename, dirname, join, resolve } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { commitUnknown, makeDirectory, writeTree } from '../fs/durable.ts'
import type { FileSystem } from '../fs/port.ts'
import { pathOf } from '../location.ts'
import { assertOptions } from '../misuse.ts'
import { type BlobReadOptions, READ_OPTIONS, type SnapshotBlob } from './blob.ts'

/** The blobs of a `{ directory }` source. */
export interface BlobDirectory {
  readonly name: string
  /** Relative paths with `/`, and the blobs they name. */
  readonly files: ReadonlyMap<string, SnapshotBlob>
  /** Lays all of them out below a new directory `path`: all or nothing, durable. `TARGET_EXISTS` if there is something. */
  writeTo(path: string | URL, options?: BlobReadOptions): Promise<void>
}

export function createBlobDirectory(
  fs: FileSystem,
  name: string,
  blobs: ReadonlyMap<string, SnapshotBlob>,
): BlobDirectory {
  const prefix = `${name}/`
  const files = new Map(
    [...blobs].filter(([blob]) => blob.startsWith(prefix)).map(([n, b]) => [n.slice(prefix.length), b]),
  )
  if (files.size === 0) {
    throw new HoldfastError('BLOB_NOT_FOUND', `there are no blobs below ${JSON.stringify(prefix)}`, {
      details: { blob: prefix, blobs: [...blobs.keys()].slice(0, 20) },
    })
  }
  return {
    name,
    files,
    async writeTo(path, options = {}) {
      assertOptions(`directory ${JSON.stringify(name)}`, options, READ_OPTIONS)
      const target = resolve(pathOf(path, 'writeTo'))
      for (const file of files.keys()) assertInside(file)
      await makeDirectory(fs, dirname(target), 0o700)
      try {
        await writeTree(fs, target, async (temp) => {
          for (const [file, blob] of files) {
            const parts = file.split('/')
            await makeDirectory(fs, join(temp, ...parts.slice(0, -1)), 0o700)
            await blob.writeTo(join(temp, ...parts), options)
          }
        })
      } catch (error) {
        throw commitUnknown(error, target, 'was written', 'it may be gone. Remove it and write it again')
      }
    },
  }
}

/** A blob name is any text; as a path it must not lead out of the directory, on any platform. */
function assertInside(file: string): void {
  const bad = file
    .split('/')
    .find((part) => part === '' || part === '.' || part === '..' || /[\\:\0]/.test(part) || basename(part) !== part)
  if (bad === undefined) return
  throw new HoldfastError('BLOB_NAME_INVALID', `${JSON.stringify(file)} cannot be a path below a directory`, {
    details: { blob: file, part: bad },
  })
}
