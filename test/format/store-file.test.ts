import { expect, test } from 'vitest'
import { z } from 'zod'
import { sealJson } from '../../src/format/json-file.ts'
import { encodeStoreFile, parseStoreFile } from '../../src/format/store-file.ts'
import { expectCode } from './expect-code.ts'
import { flips, prefixes } from './pattern.ts'

const store = { storeId: '0123456789abcdef'.repeat(2), created: '2025-01-31T23:59:59.999Z' }
const fields = { format: 'holdfast-store', version: 1, requires: [], ...store }

test('STORE.json comes back equal, and ignores fields of a later version', () => {
  const bytes = encodeStoreFile(store)
  expect(bytes).toEqual(sealJson(fields))
  expect(parseStoreFile(bytes, 'STORE.json')).toEqual(store)
  expect(parseStoreFile(sealJson({ ...fields, more: 1 }), 'STORE.json')).toEqual(store)
})

test('every flipped bit and every shortened file is damage, never "not a store"', () => {
  const bytes = encodeStoreFile(store)
  for (const flipped of flips(bytes, [1, 2, 4, 8, 16, 32, 64, 128])) {
    expectCode(() => parseStoreFile(flipped, 'STORE.json'), 'STORE_DAMAGED')
  }
  for (const prefix of prefixes(bytes)) expectCode(() => parseStoreFile(prefix, 'STORE.json'), 'STORE_DAMAGED')
})

test("another program's JSON is not a store", () => {
  for (const text of ['{}', '{"name":"shop","version":3}', '{"format":"zarr"}\n']) {
    expectCode(() => parseStoreFile(Buffer.from(text), 'STORE.json'), 'NOT_A_STORE')
  }
  expectCode(() => parseStoreFile(sealJson({ ...fields, format: 'other' }), 'STORE.json'), 'NOT_A_STORE')
})

test('a newer version, and anything required, is unsupported', () => {
  expectCode(() => parseStoreFile(sealJson({ ...fields, version: 2 }), 'x'), 'VERSION_UNSUPPORTED')
  expectCode(() => parseStoreFile(sealJson({ ...fields, requires: ['x'] }), 'x'), 'VERSION_UNSUPPORTED')
})

test('fields that are not what they should be are damage', () => {
  for (const change of [{ storeId: 'x' }, { created: 'today' }, { version: 0 }, { version: '1' }, { requires: null }]) {
    expectCode(() => parseStoreFile(sealJson({ ...fields, ...change }), 'x'), 'STORE_DAMAGED')
  }
  expect(() => encodeStoreFile({ ...store, created: 'today' })).toThrow()
})

test('what is wrong is said in English, whatever language a program has given to its zod', () => {
  const before = z.config()
  z.config(z.locales.de())
  try {
    expect(z.string().safeParse(1).error!.issues[0]!.message).toMatch(/^Ungültig/)
    const wrong = sealJson({ ...fields, storeId: 5 })
    expect(() => parseStoreFile(wrong, 'x')).toThrow('Invalid input: expected string, received number')
  } finally {
    z.config({ localeError: undefined, ...before })
  }
})
