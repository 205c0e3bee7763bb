import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { zstdIsNative } from '../../../src/format/codec.ts'
import { wasm } from '../../../src/format/wasm.ts'
import { memory } from '../../../src/index.ts'
import { sample } from '../../support/effort.ts'
import { scratch } from '../../support/scratch.ts'

const child = fileURLToPath(new URL('child.mjs', import.meta.url))
const threadCounter = fileURLToPath(new URL('../../package/count-threads.cjs', import.meta.url))
const dist = new URL('../../../dist/index.js', import.meta.url).href

async function run(limitGb: number | null, verb: string, directory: string): Promise<unknown> {
  const limit = limitGb === null ? '' : `ulimit -v ${limitGb}000000 && `
  const node = [process.execPath, '--require', threadCounter, child, verb, directory, dist]
  const args = ['-c', `${limit}exec "$0" "$@"`, ...node]
  const { stdout, stderr } = await promisify(execFile)('bash', args, { timeout: 55_000 })
  const lines = stderr.split('\n').filter((line) => /^\S/.test(line))
  const ofBlake3 = lines.filter((line) => line.startsWith('Failed to initialize WASM SIMD'))
  expect(ofBlake3.length).toBeLessThanOrEqual(process.env.HOLDFAST_BLAKE3 === 'wasm' ? 1 : 0)
  // A thread without room for its heap ends the process: under a limit there are none.
  const threads = limitGb === null ? /^\d+ threads$/ : /^0 threads$/
  expect(lines.slice(ofBlake3.length)).toEqual([expect.stringMatching(threads)])
  return JSON.parse(stdout)
}

const done = { compressed: true, same: [true, true], zstd: 'done', warnings: [] }
const plain = { compressed: false, same: [true, true], zstd: 'COMPRESSION_UNSUPPORTED', warnings: [] }
const intact = { read: 'read', verify: 'ok', repair: 'nothing to do', persist: 'done' }
const unavailable = {
  read: 'DECOMPRESSION_UNAVAILABLE',
  verify: 'DECOMPRESSION_UNAVAILABLE',
  repair: 'DECOMPRESSION_UNAVAILABLE',
  persist: 'done',
}

/** V8 reserves 10 GiB of address space for an instance on Node 20. One compresses, one decompresses. */
const limits: [limitGb: number, persisted: unknown, read: unknown][] = zstdIsNative
  ? [
      [4, done, intact],
      [30, done, intact],
      [60, done, intact],
    ]
  : [
      [4, plain, unavailable],
      [15, plain, intact],
      [30, done, intact],
      [60, done, intact],
    ]

describe.skipIf(process.platform !== 'linux').each(sample('limits', limits, 2))(
  'under a limit of %i GB of virtual memory',
  (limit, persisted, read) => {
    test('a persist ends, compressed or not, and reads back', async () => {
      expect(await run(limit, 'persist', join(scratch(), 'store'))).toEqual(persisted)
    })

    test('a compressed store is read, or it is said that it cannot be; it is not called damaged', async () => {
      const store = join(scratch(), 'store')
      expect(await run(null, 'persist', store)).toEqual(done)
      expect(await run(limit, 'read', store)).toEqual(read)
      expect(await run(null, 'read', store)).toEqual(intact)
    })
  },
)

test.skipIf(process.platform !== 'linux')('hashing does without WebAssembly too', async () => {
  vi.stubEnv('HOLDFAST_BLAKE3', 'wasm')
  expect(await run(4, 'persist', join(scratch(), 'store'))).toMatchObject({ same: [true, true] })
})

afterEach(() => {
  vi.unstubAllEnvs()
  vi.unstubAllGlobals()
})

test('where threads cannot share memory, a large blob is persisted on the main thread', async () => {
  const bytes = Buffer.alloc(9_000_000, 'some text, and more of it; ')
  const { manifest } = await memory().persist({ blobs: { bytes } })
  vi.resetModules()
  vi.stubGlobal('WebAssembly', { Module: wasm.Module, Instance: wasm.Instance, Memory: failing })
  const { memory: without } = await import('../../../src/index.ts')
  expect((await without().persist({ blobs: { bytes } })).manifest).toBe(manifest)
})

function failing(): never {
  throw new RangeError('WebAssembly.Memory(): could not allocate memory')
}
