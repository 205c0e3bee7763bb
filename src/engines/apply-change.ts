// Applies a change to an engine by the caller's `apply`, which must be done when it returns.

import type { ChangeContext, OpenEngineOptions } from './live-options.ts'

/** The engine may be between two states when it is captured. */
export class PromiseGiven extends TypeError {
  constructor() {
    super('openEngine: apply returned a promise; it has to apply a change at once')
  }
}

/** @throws PromiseGiven, what `apply` throws */
export function applyAtOnce<Engine, Change>(
  { apply }: OpenEngineOptions<Engine, Change>,
  engine: Engine,
  change: Change,
  context: ChangeContext,
): void {
  const answer = apply(engine, change, context) as unknown
  if (typeof (answer as PromiseLike<unknown> | undefined)?.then === 'function') {
    throw new PromiseGiven()
  }
}
