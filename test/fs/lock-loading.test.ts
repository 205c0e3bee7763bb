import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { loadedLibc, requireNative } from '../../src/native.ts'
import { systemError } from '../support/watched-disk.ts'

// How the addon is found on machines that the tests do not run on. Each test loads `lock.ts` anew, which looks once.
vi.mock('../../src/native.ts', async (original) => ({
  ...(await original<typeof import('../../src/native.ts')>()),
  requireNative: vi.fn(() => ({ tryLock: () => true })),
  loadedLibc: vi.fn(() => null),
}))

const asked = () => vi.mocked(requireNative).mock.calls.map(([name]) => name)

beforeEach(() => {
  vi.resetModules()
  vi.clearAllMocks()
})

afterEach(() => {
  vi.unstubAllGlobals()
  vi.restoreAllMocks()
})

const load = () => import('../../src/fs/lock.ts')

describe('the lock addon', () => {
  test('is loaded at the first lock, and once', async () => {
    const lock = await load()
    expect(asked()).toEqual([])
    lock.tryLockDescriptor(3, 'exclusive')
    lock.tryLockDescriptor(3, 'shared')
    lock.locksAvailable()
    expect(asked()).toHaveLength(1)
  })

  test.runIf(process.platform === 'linux')('is the prebuilt file where the report names no glibc', async () => {
    vi.spyOn(process.report!, 'getReport').mockReturnValue({ header: {} } as never)
    const { locksAvailable } = await load()
    expect(locksAvailable()).toEqual({ available: true })
    expect(asked()).toEqual([`fs-native-extensions/prebuilds/linux-${process.arch}/fs-native-extensions.node`])
  })

  test.runIf(process.platform === 'linux')('is the package where it does', async () => {
    vi.spyOn(process.report!, 'getReport').mockReturnValue({ header: { glibcVersionRuntime: '2.36' } } as never)
    const { locksAvailable } = await load()
    expect(locksAvailable()).toEqual({ available: true })
    expect(asked()).toEqual(['fs-native-extensions'])
  })

  test.runIf(process.platform === 'linux')(
    'is chosen without a report where the system says what is mapped',
    async () => {
      const report = vi.spyOn(process.report!, 'getReport')
      vi.mocked(loadedLibc).mockReturnValueOnce('musl')
      expect((await load()).locksAvailable()).toEqual({ available: true })
      expect(asked()).toEqual([`fs-native-extensions/prebuilds/linux-${process.arch}/fs-native-extensions.node`])
      expect(report).not.toHaveBeenCalled()
    },
  )

  test('is never loaded on Deno', async () => {
    vi.stubGlobal('Deno', {})
    const { locksAvailable, tryLockDescriptor } = await load()
    expect(locksAvailable()).toMatchObject({ available: false, reason: expect.stringContaining('Deno') })
    expect(() => tryLockDescriptor(3, 'exclusive')).toThrow(expect.objectContaining({ code: 'LOCK_UNAVAILABLE' }))
    expect(asked()).toEqual([])
  })

  test('answering in any of the ways that mean "held" is false, and nothing else is', async () => {
    const codes = ['EAGAIN', 'EWOULDBLOCK', 'EACCES', 'EBUSY', 'ENOLCK', 'EIO']
    const tryLock = vi.fn(() => {
      throw systemError(codes.shift() ?? 'EINVAL')
    })
    vi.mocked(requireNative).mockReturnValueOnce({ tryLock })
    const { tryLockDescriptor } = await load()
    for (let count = 0; count < 4; count += 1) expect(tryLockDescriptor(3, 'exclusive')).toBe(false)
    for (const reason of [/ENOLCK.*NFS/, /EIO/, /does not support locks/]) {
      expect(() => tryLockDescriptor(3, 'exclusive')).toThrow(
        expect.objectContaining({ code: 'LOCK_UNAVAILABLE', message: expect.stringMatching(reason) }),
      )
    }
  })

  test('that does not load leaves locks unavailable, and says why', async () => {
    const cause = new Error('no prebuild')
    vi.mocked(requireNative).mockImplementationOnce(() => {
      throw cause
    })
    const { locksAvailable, tryLockDescriptor } = await load()
    expect(locksAvailable()).toMatchObject({ available: false, cause })
    expect(() => tryLockDescriptor(3, 'exclusive')).toThrow(
      expect.objectContaining({
        code: 'LOCK_UNAVAILABLE',
        cause,
        message: expect.stringMatching(/no prebuild.*install it again/),
      }),
    )
  })
})
