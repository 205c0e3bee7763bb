// A scan of a pack takes any number of blocks, also of such as give no bytes.

import { expect, test } from 'vitest'
import { scanPack } from '../../src/blocks/scan-pack.ts'
import { HEADER_BYTES } from '../../src/format/limits.ts'
import { createPackIndex } from '../../src/format/pack-builder.ts'

test('a hundred and fifty thousand compressed blocks of no bytes are found to be wrong', async () => {
  const blocks = 150_000
  const builder = createPackIndex()
  const digest = new Uint8Array(32)
  const view = new DataView(digest.buffer)
  for (let i = 0; i < blocks; i++) {
    view.setUint32(0, i)
    const lengths = { storedLength: 0, rawLength: 0 }
    const check = new Uint8Array(8)
    builder.add({ digest, offset: HEADER_BYTES, ...lengths, codec: 0x55, compression: 1, kind: 0, check })
  }
  const { index } = builder.finish(new Uint8Array(HEADER_BYTES), HEADER_BYTES)
  const file = { name: 'x', bytes: 1000, read: async () => undefined, close: async () => undefined, closeSync() {} }
  let bad = 0
  let done = 0
  for await (const step of scanPack(file, index)) {
    bad += step.bad.size
    done = step.done
  }
  expect([done, bad]).toEqual([blocks, blocks])
})
