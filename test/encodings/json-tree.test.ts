import fc from 'fast-check'
import { expect, test } from 'vitest'
import { decodeLines, encodeLines } from '../../src/encodings/json-lines.ts'
import { readTree, treeLines } from '../../src/encodings/json-tree.ts'
import { rounds } from '../support/effort.ts'

/** The bytes in parts of any length. */
async function* cut(bytes: Uint8Array, lengths: number[]): AsyncGenerator<Uint8Array> {
  let at = 0
  for (let n = 0; at < bytes.length; n++) {
    const length = Math.max(1, lengths[n % lengths.length] ?? bytes.length)
    yield bytes.subarray(at, at + length)
    at += length
  }
}

async function bytesOf(lines: Iterable<string>): Promise<Uint8Array> {
  const parts: Uint8Array[] = []
  for await (const part of encodeLines(lines)) parts.push(part)
  return Buffer.concat(parts)
}

test('gives back any JSON value, however it is cut on the way', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.jsonValue({ maxDepth: 8 }),
      fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1 }),
      async (value, lengths) => {
        const bytes = await bytesOf(treeLines(value))
        expect(await readTree(cut(bytes, lengths))).toEqual(JSON.parse(JSON.stringify(value)))
      },
    ),
    rounds(300),
  )
})

test('keeps what JSON.stringify keeps, of large values as of small ones', async () => {
  const many = Array.from({ length: 100 }, (_, n) => n)
  const value = {
    list: [...many, undefined, () => 1, new Date(0), { toJSON: () => many }, { ...many, toJSON: () => 'short' }],
    map: Object.fromEntries(many.map((n) => [`k${n}`, n % 3 === 0 ? undefined : { n }])),
    ['__proto__' as string]: 1,
    text: 'lone \ud800 surrogate,\nline feed',
  }
  Object.defineProperty(value, '__proto__', { value: { deep: many }, enumerable: true })
  const again = await readTree(cut(await bytesOf(treeLines(value)), [1000]))
  expect(JSON.stringify(again)).toBe(JSON.stringify(value))
})

test('holds no line longer than its values are', async () => {
  const value = Array.from({ length: 10_000 }, (_, n) => [n, [n, n]])
  const longest = Math.max(...[...treeLines(value)].map((line) => line.length))
  expect(longest).toBeLessThan(2000)
})

test('does not recurse: values nested 100,000 deep come back', async () => {
  let value: unknown[] = []
  for (let n = 0; n < 100_000; n++) value = [value, ...Array.from({ length: 1 }, () => n)]
  let again = (await readTree(cut(await bytesOf(treeLines(value)), [65_536]))) as unknown[]
  let equal = 0
  for (let n = 99_999; n >= 0; n--) {
    if (again[1] === n) equal += 1
    again = again[0] as unknown[]
  }
  expect(equal).toBe(100_000)
})

test('refuses lines that are not a value', async () => {
  for (const lines of [[], ['[2]'], ['[0]'], ['[3,1]', '[3,2]'], ['[2]', '[0]', '[0]', '[0]'], ['not JSON']]) {
    await expect(readTree(cut(await bytesOf(lines), [10]))).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' })
  }
})

test('refuses a last line that was cut off', async () => {
  const bytes = await bytesOf(['[1]', '[2]'])
  const read = async (): Promise<unknown[]> => {
    const all: unknown[] = []
    for await (const rows of decodeLines(cut(bytes.subarray(0, -1), [3]))) all.push(...rows)
    return all
  }
  await expect(read()).rejects.toMatchObject({ code: 'ENGINE_MISMATCH' })
})

test('keeps numbers that JSON has no text for, and refuses what it cannot carry', async () => {
  const numbers = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  const many = Array.from({ length: 100 }, (_, n) => ({ n, deep: { number: numbers[n % 3] } }))
  for (const value of [Number.NaN, numbers, { a: numbers[0], b: [1, numbers[1], { c: numbers[2] }] }, many]) {
    expect(await readTree(cut(await bytesOf(treeLines(value)), [7]))).toEqual(value)
  }
  const cycle: unknown[] = [1]
  cycle.push({ deep: cycle })
  for (const value of [
    1n,
    { a: [1n] },
    [new Map()],
    { a: new Set([1]) },
    new Float32Array(2),
    new ArrayBuffer(1),
    cycle,
  ]) {
    await expect(bytesOf(treeLines(value))).rejects.toMatchObject({ code: 'ENGINE_VALUE_INVALID' })
  }
  // The same twice is no cycle.
  const twice = { list: numbers }
  expect(await readTree(cut(await bytesOf(treeLines([twice, twice])), [9]))).toEqual([twice, twice])
})
