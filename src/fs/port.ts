// The port between holdfast and a file system, so that tests can put a disk that crashes and lies under the real code.

/**
 * The file-system port: everything holdfast asks of a disk. `fs/node.ts` serves it from `node:fs`; tests put a
 * disk that crashes or lies under the same code. Errors are Node's own (`code`, `syscall`, `path`), unwrapped.
 */
export interface FileSystem {
  /**
   * `read` opens an existing file and follows links. The others open for reading and writing, never follow a link and
   * never truncate: `create` refuses an existing file (O_CREAT|O_EXCL|O_NOFOLLOW), `readWrite` creates a missing file,
   * `update` needs an existing file. `mode` (default 0600, less the umask) is for new files.
   */
  open(path: string, how: 'read' | 'create' | 'readWrite' | 'update', mode?: number): Promise<File>
  /** Atomically replaces `to`. Retries when Windows refuses it for a moment. */
  rename(from: string, to: string): Promise<void>
  /** Makes a hard link. Not every file system can (EPERM, ENOTSUP, EMLINK …). */
  link(existing: string, path: string): Promise<void>
  /**
   * Makes a new file of the blocks of `from`, which both share until one is written to. Few file systems can
   * (ENOTSUP, EXDEV, EINVAL …).
   */
  clone(from: string, path: string): Promise<void>
  unlink(path: string): Promise<void>
  mkdir(path: string, mode: number): Promise<void>
  rmdir(path: string): Promise<void>
  readdir(path: string): Promise<DirectoryEntry[]>
  stat(path: string): Promise<FileStat>
  /** As `stat`, of a link itself. */
  lstat(path: string): Promise<FileStat>
  realpath(path: string): Promise<string>
  chmod(path: string, mode: number): Promise<void>
  /**
   * fsync of a directory: makes the names in it durable. Does nothing where the platform is known not to support it.
   */
  syncDirectory(path: string): Promise<void>
  /** Opens a directory, so that a later fsync of it cannot fail for want of a descriptor or a permission. */
  openDirectory(path: string): Promise<Directory>
}

/** A directory held open. */
export interface Directory {
  /** As `syncDirectory` of its path. */
  sync(): Promise<void>
  /** Closing twice is harmless. Never throws. */
  closeSync(): void
}

export interface File {
  /** May read fewer bytes than asked; 0 only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>
  /**
   * Scattered read: fills the views one after the other, at most 1,024. May read fewer bytes. Absent where there is no
   * such call.
   */
  readv?: ((views: readonly Uint8Array[], position: number) => Promise<number>) | undefined
  /** Gathered write; may write fewer bytes than given. */
  write(views: readonly Uint8Array[], position: number): Promise<number>
  /**
   * fsync: makes content, length and mode durable. After a failure the file must be discarded: the kernel has dropped
   * its dirty pages.
   */
  sync(): Promise<void>
  /** fdatasync: content and length durable; mode and times perhaps not. After a failure as after `sync`. */
  dataSync(): Promise<void>
  stat(): Promise<FileStat>
  chmod(mode: number): Promise<void>
  /**
   * Advisory lock of this open file, released by `close` or by the death of the process. False: held by another.
   * Any other failure throws `LOCK_UNAVAILABLE`.
   */
  tryLock(mode: 'exclusive' | 'shared'): boolean
  /** Waits for running operations, then closes. Closing twice is harmless. */
  close(): Promise<void>
  /** Closes without waiting: for finalizers, and for files whose close cannot fail. */
  closeSync(): void
}

export interface DirectoryEntry {
  name: string
  kind: 'file' | 'directory' | 'link' | 'other'
}

export interface FileStat {
  kind: 'file' | 'directory' | 'link' | 'other'
  size: number
  /** Permission bits. */
  mode: number
  /** Device and inode: the identity of a file. */
  dev: bigint
  ino: bigint
  mtimeNs: bigint
  ctimeNs: bigint
}
