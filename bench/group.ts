import { createRequire } from 'node:module'
import { join } from 'node:path'
import type { GroupResult } from './result.ts'

export interface Context {
  /** Less of everything, in under two minutes. */
  quick: boolean
  /** Empty, on the disk that is measured; removed afterwards. */
  scratch: string
  /** What takes long to make and never changes: kept between runs. */
  cache: string
  /** This program, for children. */
  program: string
  /** When to come to an end, in ms since 1970: what is left then is skipped, and says so. */
  deadlineMs: number
  /** Of the benchmarks, where their packages are. */
  home: string
}

export type Group = (context: Context) => Promise<GroupResult>

export function isLate(context: Context): boolean {
  return Date.now() > context.deadlineMs
}

export function assertSame(found: Uint8Array, expected: Uint8Array, what: string): void {
  if (Buffer.compare(found, expected) !== 0) throw new Error(`${what}: other bytes than were written`)
}

export async function* piecesOf(bytes: Uint8Array): AsyncGenerator<Uint8Array, void> {
  yield bytes
}

/** As `assertSame`, of what no buffer holds. */
export async function assertSameStream(
  found: AsyncIterable<Uint8Array>,
  expected: AsyncGenerator<Uint8Array, void>,
  what: string,
): Promise<void> {
  let rest: Uint8Array = new Uint8Array(0)
  let at = 0
  for await (const part of found) {
    for (let from = 0; from < part.length; ) {
      if (rest.length === 0) {
        const { value, done } = await expected.next()
        if (done) throw new Error(`${what}: more than the ${at} bytes that were written`)
        rest = value
      }
      const length = Math.min(part.length - from, rest.length)
      assertSame(part.subarray(from, from + length), rest.subarray(0, length), what)
      rest = rest.subarray(length)
      from += length
      at += length
    }
  }
  if (rest.length > 0 || !(await expected.next()).done) throw new Error(`${what}: only ${at} bytes`)
}

/** A package that only the benchmarks use, or null where it is not installed or does not load. */
export async function optional<T>(context: Context, name: string): Promise<T | null> {
  try {
    const require = createRequire(join(context.home, 'package.json'))
    return require(name) as T
  } catch {
    try {
      return (await import(name)) as T
    } catch {
      return null
    }
  }
}
