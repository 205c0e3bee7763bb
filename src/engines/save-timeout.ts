// The error of a save, or of a `close()`, that was given up when its time was over: what is unsaved, and what to do.

import { HoldfastError } from '../index.ts'

interface TimeoutFacts {
  /** The option that set the limit. */
  limit: 'deadlineMs' | 'saveLimitMs'
  limitMs: number
  /** Told, and in no snapshot; absent where nobody counted. */
  changes?: number | undefined
  /** Changes are in a journal, and are replayed. */
  isJournalled: boolean
  /** The time passed while a change was being applied, before the save. */
  apply?: boolean | undefined
}

export function saveTimeout({ limit, limitMs, changes, isJournalled, apply = false }: TimeoutFacts): HoldfastError {
  const what = apply
    ? `apply did not end within ${limitMs} ms (${limit}), so the engine was not saved`
    : `The engine was not saved within ${limitMs} ms (${limit})`
  const unsaved =
    changes === undefined ? '' : `; ${changes} ${changes === 1 ? 'change is' : 'changes are'} in no snapshot`
  const next = isJournalled
    ? `Changes that were acknowledged are in the journal, and are applied when the engine is opened again. See why ${apply ? 'apply' : 'save'} of the ` +
      `${apply ? 'options' : 'adapter'} does not end, or give it more time (${limit})`
    : `The snapshot before is in place. What is unsaved is lost with the process: save again, and see why save of the adapter does not end, or give it ` +
      `more time (${limit})`
  const text = `${what}${unsaved}. ${next}`
  const error = new HoldfastError('SAVE_TIMEOUT', text, {
    details: { limit, limitMs, journalled: isJournalled, ...(changes === undefined ? {} : { changes }) },
    cause: new DOMException(what, 'TimeoutError'),
  })
  // What the platform calls it: the reason of `AbortSignal.timeout()` has this name, and programs look for it.
  error.name = 'TimeoutError'
  return error
}
