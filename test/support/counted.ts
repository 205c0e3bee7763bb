import { nodeFileSystem } from '../../src/fs/node.ts'
import type { Directory, File, FileSystem } from '../../src/fs/port.ts'

/** Operations asked of a disk, by name: those of a file as `file.read`, of a directory as `directory.sync`, of the file system as `rename`. */
export interface Counts {
  calls: Record<string, number>
  bytesRead: number
  bytesWritten: number
}

export interface CountedFileSystem {
  fs: FileSystem
  /** What was asked since the last call of this. */
  take(): Counts
}

/** A disk that counts what it is asked. It wraps whatever the port has, so that an operation added later is counted too. */
export function countedFileSystem(under: FileSystem = nodeFileSystem): CountedFileSystem {
  let counts = none()

  function count(name: string): void {
    counts.calls[name] = (counts.calls[name] ?? 0) + 1
  }

  function counting<T extends object>(what: T, prefix: string): T {
    const entries = Object.entries(what).map(([name, member]) => {
      if (typeof member !== 'function') return [name, member]
      return [
        name,
        (...args: unknown[]) => {
          count(prefix + name)
          return member(...args)
        },
      ]
    })
    return Object.fromEntries(entries) as T
  }

  function countFile(file: File): File {
    const counted = counting(file, 'file.')
    return {
      ...counted,
      async read(target, position) {
        const bytes = await counted.read(target, position)
        counts.bytesRead += bytes
        return bytes
      },
      async write(views, position) {
        const bytes = await counted.write(views, position)
        counts.bytesWritten += bytes
        return bytes
      },
    }
  }

  const counted = counting(under, '')
  const openDirectory = async (path: string): Promise<Directory> =>
    counting(await counted.openDirectory(path), 'directory.')
  return {
    fs: {
      ...counted,
      open: async (path, how, mode) => countFile(await counted.open(path, how, mode)),
      ...(under.openDirectory === undefined ? {} : { openDirectory }),
    },
    take() {
      const taken = counts
      counts = none()
      return taken
    },
  }
}

function none(): Counts {
  return { calls: {}, bytesRead: 0, bytesWritten: 0 }
}
