import { execFileSync } from 'node:child_process'
import { mkdtempSync, realpathSync, rmdirSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { onTestFinished, type TestContext } from 'vitest'

/** Skips the test, and says why where it is seen whatever the reporter. */
export function skip(context: TestContext, why: string): never {
  console.warn(`SKIPPED: ${context.task.name}: ${why}`)
  context.skip(why)
  throw new Error('unreachable')
}

/** A file system in memory of its own, that goes when the test ends. Only root may mount one: skips without. */
export function mountTmpfs(context: TestContext, options: string): string {
  if (process.platform !== 'linux') skip(context, `mounts a tmpfs, which ${process.platform} does not have`)
  if (process.geteuid?.() !== 0) skip(context, 'mounts a tmpfs, and this is not root')
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-mount-')))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `${options},mode=700`, 'holdfast-test', path], { stdio: 'pipe' })
  } catch (error) {
    rmdirSync(path)
    skip(context, `mounts a tmpfs, and mount(8) says: ${(error as Error).message.trim()}`)
  }
  onTestFinished(() => {
    // Lazily: what a failed test left open must not keep it.
    execFileSync('umount', ['-l', path])
    rmdirSync(path)
  })
  return path
}

/** `ro` or `rw`, from now on. */
export function remount(path: string, how: 'ro' | 'rw'): void {
  execFileSync('mount', ['-o', `remount,${how}`, path])
}

/** The same directory under a second path, until the test ends. Only root may do that: skips without. */
export function mountAgain(context: TestContext, directory: string): string {
  if (process.platform !== 'linux') skip(context, `binds a directory, which ${process.platform} does not have`)
  if (process.geteuid?.() !== 0) skip(context, 'binds a directory, and this is not root')
  const path = realpathSync(mkdtempSync(join(tmpdir(), 'holdfast-mount-')))
  try {
    execFileSync('mount', ['--bind', directory, path], { stdio: 'pipe' })
  } catch (error) {
    rmdirSync(path)
    skip(context, `binds a directory, and mount(8) says: ${(error as Error).message.trim()}`)
  }
  onTestFinished(() => {
    execFileSync('umount', ['-l', path])
    rmdirSync(path)
  })
  return path
}
