import { expect } from 'vitest'
import { type ErrorCode, isHoldfastError } from '../../src/errors.ts'

/** Runs `run`, which must throw a `HoldfastError` of this code (or one of these); gives its details. */
export function expectCode(run: () => unknown, ...codes: ErrorCode[]): Readonly<Record<string, unknown>> {
  try {
    run()
  } catch (error) {
    if (!isHoldfastError(error)) throw error
    expect(codes).toContain(error.code)
    return error.details
  }
  throw new Error(`expected ${codes.join(' or ')}, but nothing was thrown`)
}
