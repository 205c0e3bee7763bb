// Asks the operating system what it takes to judge a directory: mounts, free space, and whether another process
// respects our locks.

import { spawn } from 'node:child_process'
import { once } from 'node:events'
import * as nodeFs from 'node:fs/promises'
import { basename } from 'node:path'
import { createInterface } from 'node:readline'
import { clock } from '../clock.ts'
import { lockingChildArguments } from './lock.ts'

/** What a check needs of the system beyond the file-system port. */
export interface DirectorySystem {
  platform: string
  /** Fsyncs a directory. The system's error is thrown as it is. */
  syncDirectory(path: string): Promise<void>
  /**
   * As statfs(2) counts: bytes this user may write; inodes in all (0 where none are counted, as on btrfs), and free.
   */
  freeSpace(path: string): Promise<FreeSpace>
  /** The text of /proc/self/mountinfo; null where there is none. */
  mounts(): Promise<string | null>
  /** Starts another process that tries to lock `path` when asked. */
  lockingProcess(path: string): Promise<LockingProcess>
}

export interface FreeSpace {
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

/** The machine this runs on. */
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

const ANSWER_MS = 10_000

async function lockingProcess(path: string): Promise<LockingProcess> {
  // In a single executable or in Electron, execPath is the application itself, which must not be started again.
  if (!/^node(js)?[\d.]*(\.exe)?$/i.test(basename(process.execPath)) || process.versions.electron !== undefined) {
    throw new Error(`${process.execPath} is not node`)
  }
  const env = { ...process.env }
  // The child must not inherit hooks, inspectors and loaders of this process.
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
    const late = clock.sleep(ANSWER_MS, { ref: false }).then(() => `no answer within ${ANSWER_MS} ms`)
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
