import { readFileSync } from 'node:fs'
import { afterEach, expect, test, vi } from 'vitest'
import { zstdIsNative } from '../../src/format/codec.ts'
import { fromHex } from '../../src/format/hex.ts'
import { frameInput, type ZstdVector } from '../vectors/compute.ts'

// What decompresses in a bundle on Node 20. `zstddec` has one instance for this process: the order of the tests
// matters.

vi.mock('../../src/native.ts', async (original) => ({
  ...(await original<object>()),
  readNative(name: string) {
    throw new Error(`Cannot find module '${name}'`)
  },
}))

const vector = JSON.parse(readFileSync(new URL('../vectors/zstd.json', import.meta.url), 'utf8')) as ZstdVector

afterEach(() => {
  vi.unstubAllGlobals()
  vi.resetModules()
})

async function decompressAll(): Promise<void> {
  const { prepareDecompression } = await import('../../src/format/compression.ts')
  const { decompressBlock } = await import('../../src/format/compress.ts')
  await Promise.all([prepareDecompression(), prepareDecompression()])
  for (const { input, rawLength, frame } of vector.frames) {
    const raw = decompressBlock(fromHex(frame, frame.length / 2), rawLength)
    expect(Buffer.compare(raw, frameInput(input))).toBe(0)
  }
}

test.skipIf(zstdIsNative)('nothing is fetched, whatever the application has made of `fetch`', async () => {
  const fetch = vi.fn(() => new Promise(() => undefined))
  vi.stubGlobal('fetch', fetch)
  await decompressAll()
  expect(fetch).not.toHaveBeenCalled()
  expect(globalThis.fetch).toBe(fetch)
  const { zstdModule } = await import('../../src/format/compression.ts')
  expect(zstdModule()!.build).toBe('decoder')
})

test.skipIf(zstdIsNative)('where somebody else has initialised the package, their instance serves', async () => {
  await decompressAll()
  const { zstdModule } = await import('../../src/format/compression.ts')
  expect(zstdModule()).toBe(null)
})

test.skipIf(zstdIsNative)('where nothing decompresses that is said, and tried again', async () => {
  const { prepareDecompression } = await import('../../src/format/compression.ts')
  const { decompressBlock } = await import('../../src/format/compress.ts')
  const { refuseDecompression } = await import('../../src/format/codec.ts')
  const { rawLength, frame } = vector.frames[0]!
  refuseDecompression(new RangeError('out of memory'))
  await prepareDecompression()
  const bytes = fromHex(frame, frame.length / 2)
  expect(() => decompressBlock(bytes, rawLength)).toThrow(
    expect.objectContaining({ code: 'DECOMPRESSION_UNAVAILABLE' }),
  )
  await prepareDecompression()
  expect(decompressBlock(bytes, rawLength).length).toBe(rawLength)
})
