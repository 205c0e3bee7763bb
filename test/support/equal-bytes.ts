// Lets `toEqual` and its like compare bytes at one go. Vitest would compare them one by one, in microseconds each.

import { expect } from 'vitest'

function areEqualBytes(a: unknown, b: unknown): boolean | undefined {
  if (!(a instanceof Uint8Array && b instanceof Uint8Array) || a.constructor !== b.constructor) return undefined
  return Buffer.compare(a, b) === 0
}

// Vitest runs this for each file of tests, and files that share a process share what is added.
const ADDED = Symbol.for('holdfast: bytes are compared at one go')
const shared = globalThis as { [ADDED]?: true }
if (!shared[ADDED]) expect.addEqualityTesters([areEqualBytes])
shared[ADDED] = true
