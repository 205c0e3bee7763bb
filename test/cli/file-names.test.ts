// Blob names as paths: none leads out, none meets another, and each can be turned back.

import { posix, win32 } from 'node:path'
import { array, assert, constantFrom, property, string, uniqueArray } from 'fast-check'
import { expect, test } from 'vitest'
import { filePaths } from '../../src/cli/file-names.ts'

/** The table of docs/command-line.md, the other way round. */
function blobName(path: string): string {
  return path
    .replaceAll('%/', '')
    .replaceAll(/%([0-9A-F]{2})/g, (_, hex: string) =>
      hex === '00' ? '' : String.fromCharCode(Number.parseInt(hex, 16)),
    )
}

function paths(names: readonly string[], platform = 'linux', size = 1): string[] {
  return [
    ...filePaths(
      names.map((name) => ({ name, size })),
      platform,
    ).keys(),
  ]
}

test('ordinary names are kept as they are', () => {
  const names = ['a', 'a.b/c', 'größe/索引.json', '.hidden', '...', 'a b', '100%.txt', 'a\\b:c', '-o', 'x\n']
  expect(paths(names)).toEqual(names)
})

test('what would lead out is escaped', () => {
  expect(paths(['../x', '/etc/passwd', 'a//b', './a', 'a/..', 'c/'])).toEqual([
    '%2E%2E/x',
    '%00/etc/passwd',
    'a/%00/b',
    '%2E/a',
    'a/%2E%2E',
    'c/%00',
  ])
})

test('what an escape looks like is escaped', () => {
  expect(paths(['%2E%2E', '100%', 'a%/b', '%zz'])).toEqual(['%252E%252E', '100%25', 'a%25/b', '%zz'])
})

test('a name that is a file and a directory is told apart', () => {
  expect(paths(['a', 'a/b', 'a/b/c'])).toEqual(['a%00', 'a/b%00', 'a/b/c'])
})

test('an empty blob whose name ends in / is an empty directory', () => {
  expect(paths(['a/', 'b/c/'], 'linux', 0)).toEqual(['a/', 'b/c/'])
})

test('what Windows cannot have is escaped there', () => {
  expect(paths(['a\\..\\b', 'c:x', 'con', 'NUL.txt', 'a.', 'b ', 'a\tb', 'lpt1'], 'win32')).toEqual([
    'a%5C..%5Cb',
    'c%3Ax',
    '%63on',
    '%4EUL.txt',
    'a%2E',
    'b%20',
    'a%09b',
    '%6Cpt1',
  ])
})

test('parts that are too long become directories', () => {
  const name = `${'é'.repeat(300)}/x`
  const [path] = paths([name])
  expect(path!.split('/').length).toBe(4)
  for (const part of path!.split('/')) expect(Buffer.byteLength(part)).toBeLessThanOrEqual(255)
  expect(blobName(path!)).toBe(name)
})

const part = constantFrom('a', 'b', '.', '..', '', '%', '%00', '%2E', 'é'.repeat(130), ':', 'con', 'x ', '\u0001')
const names = uniqueArray(
  array(part, { minLength: 1, maxLength: 5 }).chain((parts) =>
    constantFrom('/', '', '%').map((separator) => parts.join(separator)),
  ),
  { minLength: 1, maxLength: 12 },
).map((list) => list.filter((name) => name !== ''))
const anyNames = uniqueArray(
  string({ unit: 'binary', minLength: 1, maxLength: 20 }).filter((name) => !name.includes('\0')),
)

test.each(['linux', 'win32'])('whatever the names, on %s', (platform) => {
  const path = platform === 'win32' ? win32 : posix
  for (const arbitrary of [names, anyNames]) {
    assert(
      property(arbitrary, (list) => {
        const made = filePaths(
          list.map((name) => ({ name, size: 1 })),
          platform,
        )
        expect(made.size).toBe(list.length)
        const all = [...made.keys()]
        for (const [file, name] of made) {
          expect(blobName(file)).toBe(name)
          const target = path.resolve('/target/dir', file)
          expect(path.relative(path.resolve('/target/dir'), target).split(path.sep)).toEqual(file.split('/'))
          for (const each of file.split('/')) expect(Buffer.byteLength(each)).toBeLessThanOrEqual(255)
          // A file is not a directory on the way to another.
          expect(all.some((other) => other.startsWith(`${file}/`))).toBe(false)
        }
      }),
    )
  }
})
