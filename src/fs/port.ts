// The port between holdfast and a file system, so that tests can put a disk that crashes and lies under the real code.

/**
 * The file-system port: everything holdfast asks of a disk. `fs/node.ts` serves it from `node:fs`; tests put a
 * disk that crashes or lies under the same code. Errors are Node's own (`code`, `syscall`, `path`), unwrapped.
 */
export interface FileSystem {
  /**
   * `read`: existing file, links followed. The others open for reading and writing, never through a link, and never
   * truncate: `create` refuses an existing file (O_CREAT|O_EXCL|O_NOFOLLOW), `readWrite` makes a missing one, `update`
   * wants an existing one. `mode` (default 0600, less the umask) is for files made.
   */
  open(path: string, how: 'read' | 'create' | 'readWrite' | 'update', mode?: number): Promise<File>
  /** Atomically replaces `to`. Retries what Windows refuses for a moment. */
  rename(from: string, to: string): Promise<void>
  /** Another name for a file. Not every file system can (EPERM, ENOTSUP, EMLINK …). */
  link(existing: string, path: string): Promise<void>
  unlink(path: string): Promise<void>
  mkdir(path: string, mode: number): Promise<void>
  rmdir(path: string): Promise<void>
  readdir(path: string): Promise<DirectoryEntry[]>
  stat(path: string): Promise<FileStat>
  /** As `stat`, of a link itself. */
  lstat(path: string): Promise<FileStat>
  realpath(path: string): Promise<string>
  chmod(path: string, mode: number): Promise<void>
  /** fsync of a directory: makes the names in it durable. Does nothing where the platform is known not to support it. */
  syncDirectory(path: string): Promise<void>
  /** Opens a directory to fsync it later, when it is too late to find out that it cannot be opened. */
  openDirectory(path: string): Promise<Directory>
}

/** A directory held open. */
export interface Directory {
  /** As `syncDirectory` of its path. */
  sync(): Promise<void>
  /** Closing twice is harmless. Never throws: nothing was written through it. */
  closeSync(): void
}

export interface File {
  /** May read fewer bytes than asked; 0 only at the end of the file. */
  read(target: Uint8Array, position: number): Promise<number>
  /** Gathered write; may write fewer bytes than given. */
  write(views: readonly Uint8Array[], position: number): Promise<number>
  /** fsync: content, length and mode durable. After a failure the file must be given up: the kernel forgets dirty pages. */
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
  /** Waits for the operations under way, then closes. Closing twice is harmless. */
  close(): Promise<void>
  /** Closes at once and without waiting: for finalizers, and for files whose close has nothing to do and nothing to report. */
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
