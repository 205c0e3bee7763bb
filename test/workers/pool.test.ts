import { execFile } from 'node:child_process'
import { promisify } from 'node:util'
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { clock } from '../../src/clock.ts'
import { content } from '../../src/format/chunking.ts'
import { memory } from '../../src/open.ts'
import { sharedPool, WorkerFailed } from '../../src/workers/pool.ts'
import { openWindows } from '../../src/workers/windows.ts'
import { noise } from '../support/bytes.ts'
import { effort } from '../support/effort.ts'
import { eventually } from '../support/eventually.ts'

const run = promisify(execFile)
const dist = new URL('../../dist/index.js', import.meta.url).href

const bytes = (length: number): Uint8Array => noise(length, 1)

afterEach(() => {
  vi.unstubAllEnvs()
})

describe('worker threads', () => {
  test('cut and hash a large blob exactly as the main thread does', async () => {
    const data = bytes(20 * 1024 * 1024 + 12_345)
    const threaded = await memory().persist({ blobs: { data } })
    vi.stubEnv('HOLDFAST_WORKERS', '0')
    expect(sharedPool()).toBe(null)
    const here = await memory().persist({ blobs: { data } })
    expect(threaded.manifest).toBe(here.manifest)
  })

  test('a job that a worker could not do is done on the main thread', async () => {
    const pool = sharedPool()!
    const failing = vi.spyOn(pool, 'run').mockRejectedValue(new WorkerFailed('no threads today'))
    const data = bytes(12 * 1024 * 1024)
    const { manifest } = await memory().persist({ blobs: { data } })
    expect(failing).toHaveBeenCalled()
    failing.mockRestore()
    expect((await memory().persist({ blobs: { data } })).manifest).toBe(manifest)
  })

  test('small blobs start none', async () => {
    const windows = openWindows(content(), 4 * 1024 * 1024)
    expect(windows.count).toBe(2)
    windows.release()
  })

  // It waits until idle threads have ended.
  test.runIf(effort === 1)(
    'are not started to find that nothing has changed, but help to when they are up',
    async () => {
      const data = bytes(20 * 1024 * 1024)
      await using store = memory()
      vi.stubEnv('HOLDFAST_WORKERS', '0')
      await store.persist({ blobs: { data } })
      vi.unstubAllEnvs()
      const pool = sharedPool()!
      // Those that other tests have started end when they have had nothing to do for a while.
      await eventually(() => expect(pool.isUp).toBe(false))
      const run = vi.spyOn(pool, 'run')
      try {
        expect(await store.persist({ blobs: { data } })).toMatchObject({ unchanged: true })
        // The last segment is not whole, and copied.
        expect(run.mock.calls.length).toBeLessThan(3)
        pool.startUp()
        await eventually(() => expect(pool.isUp).toBe(true))
        run.mockClear()
        expect(await store.persist({ blobs: { data } })).toMatchObject({ unchanged: true })
        expect(run.mock.calls.filter(([, job]) => job.kind === 'digest').length).toBe(5)
        expect(run.mock.calls.every(([, job]) => job.kind === 'digest')).toBe(true)
      } finally {
        run.mockRestore()
      }
    },
    20_000,
  )

  test('do not keep a process alive that is done, and do not let it end while they work', async () => {
    const program = `
      import { memory } from ${JSON.stringify(dist)}
      const store = memory()
      const data = new Uint8Array(24 * 1024 * 1024).map((_, i) => (i * i) >>> 7)
      const { bytes } = await store.persist({ blobs: { data } })
      console.log(bytes.total, Math.round(performance.now()))
    `
    const startMs = performance.now()
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program])
    const [total, doneMs] = stdout.trim().split(' ').map(Number)
    expect(total).toBe(24 * 1024 * 1024)
    // An idle pool ends after five seconds; a process that is done must not wait for that.
    expect(performance.now() - startMs - doneMs!).toBeLessThan(4_000)
  })

  test('an abort in the middle leaves the windows to the next persist only when nothing writes to them', async () => {
    const data = bytes(24 * 1024 * 1024)
    const expected = (await memory().persist({ blobs: { data } })).manifest
    for (let at = 1; at <= 4; at++) {
      const controller = new AbortController()
      const reason = new Error('enough')
      let seen = 0
      const aborted = memory().persist({
        blobs: { data },
        signal: controller.signal,
        onProgress() {
          seen += 1
          if (seen === at) controller.abort(reason)
        },
      })
      await expect(aborted).rejects.toBe(reason)
      expect((await memory().persist({ blobs: { data } })).manifest).toBe(expected)
    }
  })

  test('several stores share them at once', async () => {
    const datas = Array.from({ length: 5 }, (_, i) => bytes(9 * 1024 * 1024 + i * 1000))
    const together = await Promise.all(datas.map((data) => memory().persist({ blobs: { data } })))
    vi.stubEnv('HOLDFAST_WORKERS', '0')
    for (const [i, data] of datas.entries()) {
      expect(together[i]!.manifest).toBe((await memory().persist({ blobs: { data } })).manifest)
    }
  })
})

describe('where workers die', () => {
  test('three are tried, then the work is done on the main thread', async () => {
    const program = `
      import threads from 'node:worker_threads'
      import { syncBuiltinESMExports } from 'node:module'
      const { Worker } = threads
      let started = 0
      threads.Worker = class extends Worker {
        constructor(_, options) {
          super('throw new Error("not here")', { ...options, eval: true })
          started += 1
        }
      }
      syncBuiltinESMExports()
      const { memory } = await import(${JSON.stringify(dist)})
      const data = Buffer.alloc(40 * 2 ** 20, 'some text of which there is much. ')
      for (let at = 0; at < data.length; at += 1000) data.writeUInt32LE(at, at)
      await using store = memory()
      await store.persist({ blobs: { data } })
      const snapshot = await store.load()
      console.log(data.equals(await snapshot.blob('data').bytes()), started)`.replace('await using', 'const')
    const { stdout } = await run(process.execPath, ['--input-type=module', '-e', program])
    const [same, started] = stdout.trim().split(' ')
    expect(same).toBe('true')
    expect(Number(started)).toBeGreaterThan(0)
    // Those that were started at once do not know of each other.
    expect(Number(started)).toBeLessThan(8)
  })

  test('one that never answers is given up, and its job is done on the main thread', async () => {
    vi.spyOn(clock, 'startTimer').mockImplementation((callback, ms) => setTimeout(callback, ms === 60_000 ? 20 : ms))
    const program = vi.spyOn(Worker.prototype, 'postMessage').mockImplementation(() => {})
    try {
      const data = bytes(12 * 1024 * 1024)
      const { manifest } = await memory().persist({ blobs: { data } })
      program.mockRestore()
      vi.stubEnv('HOLDFAST_WORKERS', '0')
      expect((await memory().persist({ blobs: { data } })).manifest).toBe(manifest)
    } finally {
      vi.restoreAllMocks()
    }
  })
})
