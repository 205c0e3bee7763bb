// Judges from the facts about a directory whether files in it survive a crash. It only decides; probe-directory.ts
// finds the facts.

import { sizeText } from '../text.ts'
import type { FreeSpace } from './directory-system.ts'
import type { Mount } from './mounts.ts'

/** The result of a check; see `DirectoryCheck`. */
export interface Answer {
  ok: boolean
  detail: string
  advice?: string
}

export function judgeFreeSpace({ bytes, files, filesFree }: FreeSpace, freeBytesMin: number): Answer {
  if (files > 0 && filesFree === 0)
    return { ok: false, detail: 'no inode is free', advice: 'remove files that are not needed' }
  const detail = `${sizeText(bytes)} are free`
  if (bytes >= freeBytesMin) return { ok: true, detail }
  const wanted = sizeText(freeBytesMin)
  return { ok: false, detail, advice: `have ${wanted} free; a persist that does not fit fails and changes nothing` }
}

/** In these, no acknowledged save was lost in recorded power losses: docs/durability.md. */
const MEASURED = new Set(['ext4', 'xfs', 'btrfs'])
const IN_MEMORY = new Set(['tmpfs', 'ramfs', 'devtmpfs'])
const WITHOUT_JOURNAL = new Set(['vfat', 'msdos', 'exfat', 'ext2', 'hfs', 'ufs'])
const NETWORK = new Set(
  'nfs nfs4 cifs smb3 smbfs 9p ceph afs lustre gpfs beegfs glusterfs virtiofs orangefs davfs coda ncpfs vboxsf prl_fs vmhgfs'.split(
    ' ',
  ),
)
/** Mount options that make a flush do nothing: mount(8), ext4(5), and the documentation of overlayfs. */
const UNFLUSHED = ['nobarrier', 'barrier=0', 'volatile']

function isNetwork(type: string): boolean {
  // It is unknown what a FUSE program does with a file. Most of them use a network.
  return NETWORK.has(type) || type === 'fuse' || type.startsWith('fuse.')
}

export function judgeFileSystem(mount: Mount | null, platform: string): Answer {
  if (mount === null) return { ok: true, detail: `unknown: it cannot be told on ${platform}` }
  const { type, options } = mount
  const unsafe = options.find((option) => UNFLUSHED.includes(option))
  if (unsafe !== undefined) {
    const advice = 'after a power loss nothing written lately can be relied on: mount it without that option'
    return { ok: false, detail: `${type}, mounted with ${unsafe}: fsync does not reach the disk`, advice }
  }
  if (MEASURED.has(type)) return { ok: true, detail: `${type}: measured to keep what was acknowledged` }
  if (IN_MEMORY.has(type)) {
    const advice = 'everything in it is gone when the machine stops: use a disk for what is to be kept'
    return { ok: false, detail: `${type}: kept in memory`, advice }
  }
  if (WITHOUT_JOURNAL.has(type)) {
    const advice = 'use a file system with a journal (ext4, xfs, btrfs)'
    return {
      ok: false,
      detail: `${type}: without a journal, a power loss may damage the directory itself`,
      advice,
    }
  }
  if (type === 'overlay') {
    const advice = 'in a container this layer goes with the container: keep stores on a volume'
    return { ok: true, detail: 'overlay: it keeps what the file system under it keeps', advice }
  }
  return { ok: true, detail: `${type}: not one of those that were measured (${[...MEASURED].join(', ')})` }
}

export function judgeNetwork(mount: Mount | null, platform: string, path: string): Answer {
  const advice =
    'keep stores on a local disk. Locks may not exclude other machines, and a flush is the business of the other side'
  if (platform === 'win32' && path.startsWith('\\\\')) {
    return { ok: false, detail: `${path} is on another machine`, advice }
  }
  if (mount === null) return { ok: true, detail: `unknown: it cannot be told on ${platform}` }
  if (!isNetwork(mount.type)) return { ok: true, detail: `${mount.type} is local` }
  return { ok: false, detail: `${mount.type} at ${mount.mountPoint}: a network, or a program in between`, advice }
}
