// Says so when a process ends with changes that were not saved. It saves nothing itself: whoever ends the process
// decides that.

interface Watched {
  name: string
  unsaved: () => boolean
}

const watched = new Set<Watched>()

/** Engines whose changes are in a journal: a process may end without saving them. */
const journalled = new WeakSet<object>()

export function noteJournalled(engine: unknown): void {
  if (typeof engine === 'object' && engine !== null) journalled.add(engine)
}

export function isJournalled(engine: unknown): boolean {
  return typeof engine === 'object' && engine !== null && journalled.has(engine)
}

/** Warns at the end of the process while `unsaved` is true. Returns what ends the watch. */
export function watchExit(name: string, unsaved: () => boolean): () => void {
  const entry = { name, unsaved }
  // One listener for all: many savers must not be a MaxListenersExceededWarning.
  if (watched.size === 0) process.on('exit', warn)
  watched.add(entry)
  return () => {
    if (watched.delete(entry) && watched.size === 0) process.off('exit', warn)
  }
}

function warn(): void {
  for (const { name, unsaved } of watched) {
    if (!unsaved()) continue
    // Written at once: a process warning would be printed in a later turn, and there is none.
    process.stderr.write(
      `(holdfast) Warning [AUTOSAVE_UNSAVED]: the process ends with changes of ${name} that were not saved; ` +
        'await close() or flush() of its autosave before the end, or give it `signals`\n',
    )
  }
}
