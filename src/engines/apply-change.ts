// Applies a change to an engine by the caller's `apply`.

import type { ChangeContext, OpenEngineOptions } from './live-options.ts'

/**
 * A promise when `apply` gave one: the change is applied when it resolves. Whatever else `apply` answers is ignored.
 */
export function applyChange<Engine, Change>(
  { apply }: Pick<OpenEngineOptions<Engine, Change>, 'apply'>,
  engine: Engine,
  change: Change,
  context: ChangeContext,
): PromiseLike<unknown> | undefined {
  const answer = apply(engine, change, context) as unknown
  return typeof (answer as PromiseLike<unknown> | null | undefined)?.then === 'function'
    ? (answer as PromiseLike<unknown>)
    : undefined
}
