import { expect, test } from 'vitest'
import { FANOUT_BYTES, FOOTER_BYTES, HEADER_BYTES, PACK_BYTES_MAX } from '../../src/format/limits.ts'
import { encodePackHeader, parsePackFooter } from '../../src/format/pack.ts'
import { createPackIndex } from '../../src/format/pack-builder.ts'
import { checkFrame } from '../../src/format/zstd.ts'
import { expectCode } from './expect-code.ts'

// What is refused before anything is allocated for it: asked of the check itself, since a decoder behind it may refuse
// the same.

const frame = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex.replaceAll(' ', ''), 'hex'))

test('a zstd frame may have a window of a block, and no larger one', () => {
  // The content size is right, and an empty last block follows.
  expect(() => checkFrame(frame('28b52ffd 80 70 00000001 010000'), 16_777_216)).not.toThrow()
  for (const window of ['71', '78', 'ff']) {
    expect(() => checkFrame(frame(`28b52ffd 80 ${window} 00000001 010000`), 16_777_216)).toThrow('a window of')
  }
})

test('a zstd frame ends where its block ends: no second frame, no stray byte, none missing', () => {
  const whole = '28b52ffd 20 01 090000 41'
  expect(() => checkFrame(frame(whole), 1)).not.toThrow()
  for (const more of ['00', '502a4d18 00000000', whole]) {
    expect(() => checkFrame(frame(`${whole} ${more}`), 1), more).toThrow('not as long as its block')
  }
  expect(() => checkFrame(frame(whole).subarray(0, -1), 1)).toThrow('not as long as its block')
})

test('a pack that is longer than its offsets can say is damage', () => {
  const header = encodePackHeader({ storeId: new Uint8Array(16), revision: 1, nonce: new Uint8Array(16) })
  const { trailer } = createPackIndex().finish(header, HEADER_BYTES)
  const ending = FANOUT_BYTES + FOOTER_BYTES
  function footerOf(fileBytes: number): Uint8Array {
    const footer = trailer.slice(-FOOTER_BYTES)
    new DataView(footer.buffer).setBigUint64(0, BigInt(fileBytes - ending), true)
    return footer
  }
  expect(parsePackFooter(footerOf(PACK_BYTES_MAX), PACK_BYTES_MAX, 'x').blocks).toBe(0)
  expectCode(() => parsePackFooter(footerOf(PACK_BYTES_MAX + 1), PACK_BYTES_MAX + 1, 'x'), 'PACK_DAMAGED')
})
