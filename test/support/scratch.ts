// Directories for tests.
import { accessSync, constants, mkdtempSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished } from 'vitest'

/** An empty directory. Whoever asks removes it. */
export function makeScratch(directory = tmpdir()): string {
  return realpathSync(mkdtempSync(join(directory, 'holdfast-test-')))
}

/** An empty directory that goes when the test ends. */
export function scratch(): string {
  const path = makeScratch()
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

/**
 * As `scratch`, in memory where the system offers that. For tests that make thousands of fsyncs, none of which is about
 * what a disk does.
 */
export function quickScratch(): string {
  const path = makeScratch(quickDirectory())
  onTestFinished(() => rmSync(path, { recursive: true, force: true }))
  return path
}

function quickDirectory(): string {
  try {
    // tmpfs on every Linux; 64 MiB in a container.
    accessSync('/dev/shm', constants.W_OK)
    return '/dev/shm'
  } catch {
    return tmpdir()
  }
}
