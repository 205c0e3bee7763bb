import { vi } from 'vitest'

/** `vi.waitFor` of what comes in a moment, and much later on a machine that has more to do. */
export async function eventually<T>(check: () => T | Promise<T>): Promise<T> {
  return await vi.waitFor(check, { timeout: 60_000 })
}
