import fc from 'fast-check'
import { base16 } from 'multiformats/bases/base16'
import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import { create } from 'multiformats/hashes/digest'
import { expect, test } from 'vitest'
import { blockId, CODEC_DAG_CBOR, CODEC_RAW, cidOf, cidText, parseCid, sameBlock } from '../../src/format/cid.ts'
import { expectCode } from './expect-code.ts'
import { pattern } from './pattern.ts'

const digest = pattern(32, 1)

test('a CID is the 36 bytes of the specification, and begins as it says in text', () => {
  const cid = cidOf({ codec: CODEC_RAW, digest })
  expect([...cid.bytes.subarray(0, 4)]).toEqual([0x01, 0x55, 0x1e, 0x20])
  expect(cid.bytes.subarray(4)).toEqual(digest)
  expect(cid.bytes.length).toBe(36)
  expect(cidText({ codec: CODEC_RAW, digest })).toMatch(/^bafkr4i[a-z2-7]+$/)
  expect(cidText({ codec: CODEC_DAG_CBOR, digest })).toMatch(/^bafyr4i[a-z2-7]+$/)
})

test('every digest goes through text and back', () => {
  fc.assert(
    fc.property(
      fc.uint8Array({ minLength: 32, maxLength: 32 }),
      fc.constantFrom(CODEC_RAW, CODEC_DAG_CBOR),
      (digest, codec) => {
        const id = { codec, digest }
        expect(parseCid(cidText(id))).toEqual(id)
        expect(blockId(cidOf(id))).toEqual(id)
        expect(sameBlock(id, parseCid(cidText(id)))).toBe(true)
      },
    ),
  )
})

test('two ids are one block only with equal codec and digest', () => {
  const id = { codec: CODEC_RAW, digest } as const
  expect(sameBlock(id, { codec: CODEC_DAG_CBOR, digest })).toBe(false)
  expect(sameBlock(id, { codec: CODEC_RAW, digest: pattern(32, 2) })).toBe(false)
})

test('a digest of another length is a bug, not a CID', () => {
  expect(() => cidOf({ codec: CODEC_RAW, digest: pattern(31, 1) })).toThrow(/31/)
})

test('CIDs of another version, codec, hash or digest length are refused', () => {
  const foreign = [
    CID.createV0(create(0x12, digest)),
    CID.createV1(0x70, create(0x1e, digest)),
    CID.createV1(CODEC_RAW, create(0x12, digest)),
    CID.createV1(CODEC_RAW, create(0x1e, digest.subarray(1))),
  ]
  for (const cid of foreign) {
    expectCode(() => blockId(cid), 'SNAPSHOT_DAMAGED')
    expectCode(() => parseCid(cid.toString()), 'SNAPSHOT_DAMAGED')
  }
})

test('a CID in text has one spelling', () => {
  const text = cidText({ codec: CODEC_RAW, digest })
  const cid = cidOf({ codec: CODEC_RAW, digest })
  // 36 bytes are 57.6 base32 digits: the last digit has two bits to spare.
  const last = text.at(-1)!
  const alphabet = 'abcdefghijklmnopqrstuvwxyz234567'
  const stray = text.slice(0, -1) + alphabet[alphabet.indexOf(last) + 1]!
  const spellings = ['', 'b', 'x', text.toUpperCase(), `${text}=`, ` ${text}`, text.slice(0, -1), stray]
  for (const spelling of [...spellings, cid.toString(base16), cid.toString(base58btc)]) {
    expectCode(() => parseCid(spelling), 'SNAPSHOT_DAMAGED')
  }
})
