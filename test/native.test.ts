import { expect, test } from 'vitest'
import { loadedLibc, requireNative, whyNotLoaded } from '../src/native.ts'

test('an addon is found beside the package', () => {
  expect(requireNative('@napi-rs/blake-hash')).toHaveProperty('blake3')
})

test('an addon that is not installed is an error of Node', () => {
  expect(() => requireNative('@holdfast/not-there')).toThrow(expect.objectContaining({ code: 'MODULE_NOT_FOUND' }))
})

test('what did not load is told by what can be done: look for it, install it anew, or allow it', () => {
  const failure = (code: string | undefined, message: string) => Object.assign(new Error(message), { code })
  const why = (code: string | undefined, message: string) => whyNotLoaded('addon', failure(code, message))
  expect(why('MODULE_NOT_FOUND', "Cannot find module 'addon'")).toMatch(
    /^the package addon was not found; looked for from \S+ /,
  )
  expect(why('MODULE_NOT_FOUND', "Cannot find module 'inner'")).toMatch(
    /^inner, which the package addon needs, was not found/,
  )
  expect(why(undefined, "Cannot find addon '.'")).toMatch(/^the binary, which the package addon needs, was not found/)
  expect(why('ERR_DLOPEN_FAILED', 'wrong ELF class')).toMatch(
    /was found and did not load on \S+: wrong ELF class; install it again/,
  )
  expect(why('ERR_ACCESS_DENIED', 'no')).toMatch(/--allow-addons and --allow-fs-read/)
})

test.runIf(process.platform === 'linux')('the C library that is mapped is the one that the report names', () => {
  const { header } = process.report!.getReport() as { header: { glibcVersionRuntime?: string } }
  expect(loadedLibc()).toBe(header.glibcVersionRuntime === undefined ? 'musl' : 'glibc')
})
