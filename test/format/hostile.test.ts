// Files whose every checksum is right and that cost time or memory without bound, or carry numbers at their limits:
// each is refused as damage, at once.

import { describe, expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { parseCid } from '../../src/format/cid.ts'
import { emptyHead } from '../../src/format/empty-head.ts'
import { encodeHead, type Head, parseHead } from '../../src/format/head.ts'
import { toHex } from '../../src/format/hex.ts'
import { sealJson } from '../../src/format/json-file.ts'
import { COUNTER_MAX, PACK_ID_MAX, VALUE_WEIGHT_MAX } from '../../src/format/limits.ts'
import { encodePackHeader, parsePackHeader } from '../../src/format/pack.ts'
import { decodeValue, encodeValue } from '../../src/format/value.ts'
import { cpuTimer } from '../support/cpu-time.ts'
import { expectCode } from './expect-code.ts'

const head: Head = emptyHead('ab'.repeat(16))
const sealed = (fields: object) =>
  sealJson({ format: 'holdfast-head', version: 3, requires: [], ...head, ...fields } as Record<string, unknown>)
const entry = {
  sequence: 1,
  manifest: 'bafyr4ibb5xolbk6cthq6bzgag62tf6tctlvkf6ze2xt75rdecszcmpdwpu',
  time: '2025-01-31T23:59:59.999Z',
  tags: [],
  abandoned: false,
  pack: 1,
  packs: [1],
  size: 0,
}
const pack = { id: 1, name: toHex(blake3(new Uint8Array(0))), bytes: 1000, blocks: 1, live: null }
const full = { revision: 1, sequence: 1, current: 1, snapshots: [entry], packs: [pack] }

/** Refused, in little time, and in a message that people can read. (Half a second on an idle machine at most.) */
function refused(work: () => unknown, code: string): void {
  const cpuMs = cpuTimer()
  let message = ''
  expectCode(
    () => {
      try {
        work()
      } catch (error) {
        message = (error as Error).message
        throw error
      }
    },
    code as Parameters<typeof expectCode>[1],
  )
  expect(cpuMs()).toBeLessThan(2000)
  expect(message.length).toBeLessThan(2000)
}

describe('HEAD', () => {
  test('as it should be is the one that the others are compared with', () => {
    expect(parseHead(sealed(full), 'HEAD.json').head.current).toBe(1)
  })

  test.each<[string, object]>([
    ['a CID of 200,000 digits', { ...full, snapshots: [{ ...entry, manifest: `b${'a'.repeat(200_000)}` }] }],
    ['half a million wrong packs', { ...full, packs: Array(500_000).fill(1) }],
    ['half a million wrong pack ids', { ...full, snapshots: [{ ...entry, packs: Array(500_000).fill('x') }] }],
    ['half a million wrong digests', { ...full, damaged: [{ pack: pack.name, digests: Array(500_000).fill(1) }] }],
    ['half a million wrong writes', { ...full, writes: Array(500_000).fill(1) }],
    ['half a million wrong tags', { ...full, snapshots: [{ ...entry, tags: Array(500_000).fill(1) }] }],
    ['features that are no text', { ...full, requires: [[1]] }],
    ['a revision beyond the limit', { ...full, revision: Number.MAX_SAFE_INTEGER }],
    ['a sequence beyond the limit', { ...full, sequence: COUNTER_MAX + 1 }],
    ['a pack id beyond the limit', { ...full, packs: [pack, { ...pack, id: PACK_ID_MAX + 1, name: 'ab'.repeat(32) }] }],
    [
      'a retired revision beyond the limit',
      { ...full, retired: [{ name: 'ab'.repeat(32), bytes: 1, revision: 2 ** 50 }] },
    ],
  ])('%s', (_, fields) => {
    refused(() => parseHead(sealed(fields), 'HEAD.json'), 'HEAD_DAMAGED')
  })

  test('lists nested 10,000 deep where features are named', () => {
    const text = `{"format":"holdfast-head","version":3,"requires":${'['.repeat(10_000)}${']'.repeat(10_000)},\n  `
    const covered = Buffer.from(text)
    const bytes = Buffer.concat([covered, Buffer.from(`"checksum": "${toHex(blake3(covered))}"\n}\n`)])
    refused(() => parseHead(bytes, 'HEAD.json'), 'HEAD_DAMAGED')
  })

  test('a hundred thousand features that are not known', () => {
    refused(
      () => parseHead(sealed({ requires: Array(100_000).fill('x'.repeat(100)) }), 'HEAD.json'),
      'VERSION_UNSUPPORTED',
    )
  })

  test('is not written with a number that no reader takes', () => {
    expectCode(() => encodeHead({ ...head, revision: COUNTER_MAX + 1 }), 'LIMIT_EXCEEDED')
    expectCode(() => encodeHead({ ...head, sequence: COUNTER_MAX + 1 }), 'LIMIT_EXCEEDED')
  })
})

test('a CID of another length is refused before it is decoded', () => {
  refused(() => parseCid(`b${'a'.repeat(10_000_000)}`), 'SNAPSHOT_DAMAGED')
})

test('a pack meant for a revision beyond the limit is damaged', () => {
  const header = encodePackHeader({ storeId: new Uint8Array(16), revision: COUNTER_MAX + 1, nonce: new Uint8Array(16) })
  expectCode(() => parsePackHeader(header, 'x'), 'PACK_DAMAGED')
})

describe('a value of too many items', () => {
  const many = (item: number, count: number): Uint8Array => {
    const bytes = new Uint8Array(5 + count)
    bytes.set([0x9a, count >>> 24, (count >>> 16) & 255, (count >>> 8) & 255, count & 255])
    bytes.fill(item, 5)
    return bytes
  }

  test.each<[string, number, number]>([
    ['16 million empty byte strings', 0x40, 16_000_000],
    ['3 million empty lists', 0x80, 3_000_000],
    ['3 million empty maps', 0xa0, 3_000_000],
    ['5 million numbers', 0x01, 5_000_000],
  ])('%s', (_, item, count) => {
    const block = many(item, count)
    const before = process.memoryUsage().arrayBuffers
    refused(() => decodeValue(block), 'SNAPSHOT_DAMAGED')
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 1024 * 1024)
  })

  test('is refused by the writer too', () => {
    expectCode(() => encodeValue(Array(VALUE_WEIGHT_MAX / 8).fill(new Uint8Array(0)), 'metadata'), 'LIMIT_EXCEEDED')
  })
})
