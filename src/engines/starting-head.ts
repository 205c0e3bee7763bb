// Remembers for an engine that was made anew which snapshot was current then: `autosave` may replace that one, and no
// other.

const heads = new WeakMap<object, number | null>()

export function noteStartingHead(engine: unknown, head: number | null): void {
  if (typeof engine === 'object' && engine !== null) heads.set(engine, head)
}

/** Undefined when the engine was not made by `startEngine`. */
export function startingHead(engine: unknown): number | null | undefined {
  return typeof engine === 'object' && engine !== null ? heads.get(engine) : undefined
}
