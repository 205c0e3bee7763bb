import { createRequire } from 'node:module'
import { test } from 'vitest'

// The native engines are not among the development dependencies, because some have to be built: `npm run engines` gets
// them.

const require = createRequire(new URL('../../bench/engines/package.json', import.meta.url))

/** The engine's module, or null where it is not installed or does not load. */
export function nativeEngine<Module>(name: string): Module | null {
  try {
    return require(name) as Module
  } catch {
    return null
  }
}

/** A module of Node itself, or null where this Node does not have it. */
export function builtIn<Module>(name: string): Module | null {
  const get = (process as { getBuiltinModule?: (name: string) => unknown }).getBuiltinModule
  return (get?.(name) ?? null) as Module | null
}

/** In the place of tests that cannot run: so that it shows. */
export function skipVisibly(what: string, how: string): void {
  test.skip(`${what}: not tested, ${how}`, () => {})
}

/** `count` numbers from -1 to 1, always the same ones for the same seed. */
export function vector(seed: number, count: number): number[] {
  let state = (seed * 2654435761 + 1) >>> 0
  return Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.fround(state / 2 ** 31 - 1)
  })
}
