import { createRequire } from 'node:module'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { bindTryLock, locksAvailable, planLockAddon, tryLockDescriptor } from '../../src/fs/lock.ts'
import { nodeFileSystem as fs } from '../../src/fs/node.ts'
import { scratch } from '../support/scratch.ts'
import { systemError } from '../support/watched-disk.ts'
import { startChild } from './children.ts'

const here = { platform: 'linux', arch: 'x64', bun: false, deno: false, musl: false }

describe('locks', () => {
  test('are available where the tests run', () => {
    expect(locksAvailable()).toEqual({ available: true })
  })

  test('exclude two opens within one process, until the first is closed', async () => {
    const path = join(scratch(), 'a')
    const [first, second] = [await fs.open(path, 'create'), await fs.open(path, 'update')]
    expect(first.tryLock('exclusive')).toBe(true)
    expect(second.tryLock('exclusive')).toBe(false)
    expect(second.tryLock('shared')).toBe(false)
    await first.close()
    expect(second.tryLock('exclusive')).toBe(true)
    await second.close()
  })

  test('that are shared go together and keep an exclusive one out', async () => {
    const path = join(scratch(), 'a')
    const files = [await fs.open(path, 'create'), await fs.open(path, 'read'), await fs.open(path, 'update')]
    const [first, second, third] = files as [(typeof files)[0], (typeof files)[0], (typeof files)[0]]
    expect(first.tryLock('shared')).toBe(true)
    expect(second.tryLock('shared')).toBe(true)
    expect(third.tryLock('exclusive')).toBe(false)
    await Promise.all([first.close(), second.close()])
    expect(third.tryLock('exclusive')).toBe(true)
    await third.close()
  })

  test('exclude other processes, and end when their process is killed', async () => {
    const child = await startChild('lock', join(scratch(), 'a'))
    const file = await fs.open(child.path, 'update')
    expect(file.tryLock('exclusive')).toBe(false)
    await child.kill()
    expect(file.tryLock('exclusive')).toBe(true)
    await file.close()
  })

  test('do not survive in a child that inherits nothing', async () => {
    const path = join(scratch(), 'a')
    const file = await fs.open(path, 'create')
    expect(file.tryLock('exclusive')).toBe(true)
    const child = await startChild('temp', scratch())
    await file.close()
    const again = await fs.open(path, 'update')
    expect(again.tryLock('exclusive')).toBe(true)
    await again.close()
    await child.kill()
  })

  test('that fail for any reason but "held" are LOCK_UNAVAILABLE, with the reason and the way out', () => {
    expect(() => tryLockDescriptor(9_999, 'exclusive')).toThrow(
      expect.objectContaining({
        code: 'LOCK_UNAVAILABLE',
        message: expect.stringMatching(/EBADF.*lock: 'none' if you make sure/s),
        cause: expect.objectContaining({ code: 'EBADF' }),
        details: { reason: expect.stringContaining('EBADF') },
      }),
    )
  })
})

describe('which addon is loaded', () => {
  test('none on Bun and Deno, which die in it', () => {
    expect(planLockAddon({ ...here, bun: true })).toHaveProperty('unavailable')
    expect(planLockAddon({ ...here, deno: true, musl: true })).toHaveProperty('unavailable')
  })

  test('the package elsewhere, and on musl its prebuilt file', () => {
    expect(planLockAddon(here)).toEqual({ specifier: 'fs-native-extensions', raw: false })
    expect(planLockAddon({ ...here, arch: 'arm64', musl: true })).toEqual({
      specifier: 'fs-native-extensions/prebuilds/linux-arm64/fs-native-extensions.node',
      raw: true,
    })
  })

  test.runIf(process.platform === 'linux')('the prebuilt file that musl gets can be resolved and locks', async () => {
    const plan = planLockAddon({ ...here, arch: process.arch, musl: true })
    if ('unavailable' in plan) throw new Error(plan.unavailable)
    const tryLock = bindTryLock(plan, createRequire(import.meta.url)(plan.specifier), 'linux')
    // Descriptors are not on the port: two plain ones.
    const { openSync, closeSync } = await import('node:fs')
    const path = join(scratch(), 'a')
    const [first, second] = [openSync(path, 'w+'), openSync(path, 'r+')]
    expect(tryLock(first, true)).toBe(true)
    expect(() => tryLock(second, false)).toThrow(expect.objectContaining({ code: 'EAGAIN' }))
    // It is the same byte that the package's wrapper locks.
    expect(tryLockDescriptor(second, 'exclusive')).toBe(false)
    closeSync(first)
    expect(tryLock(second, false)).toBe(true)
    closeSync(second)
  })

  test('whole files are locked on macOS, a byte beyond the content elsewhere', () => {
    const calls: unknown[][] = []
    const module = { tryLock: (...args: unknown[]) => calls.push(args) > 0 }
    const plan = { specifier: 'x', raw: false }
    bindTryLock(plan, module, 'darwin')(3, true)
    bindTryLock(plan, module, 'win32')(3, false)
    bindTryLock({ specifier: 'x', raw: true }, module, 'linux')(3, true)
    expect(calls).toEqual([
      [3, 0, 0, { shared: false }],
      [3, 2 ** 40, 1, { shared: true }],
      [3, 2 ** 40, 1, true],
    ])
  })

  test('a module without tryLock is refused when it is loaded, and other failures of the addon pass', () => {
    expect(() => bindTryLock({ specifier: 'x', raw: true }, {}, 'linux')).toThrow(/x has no tryLock/)
    const module = {
      tryLock() {
        throw systemError('ENOLCK')
      },
    }
    expect(() => bindTryLock({ specifier: 'x', raw: true }, module, 'linux')(3, true)).toThrow(/ENOLCK/)
  })
})
