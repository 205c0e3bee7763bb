import { expect, test } from 'vitest'
import { requireNative } from '../src/native.ts'

test('an addon is found beside the package', () => {
  expect(requireNative('@napi-rs/blake-hash')).toHaveProperty('blake3')
})

test('an addon that is not installed is an error of Node', () => {
  expect(() => requireNative('@holdfast/not-there')).toThrow(expect.objectContaining({ code: 'MODULE_NOT_FOUND' }))
})
