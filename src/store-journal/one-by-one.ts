// Gives what comes in batches one by one. Not by an async generator, in which each item takes several turns of the
// microtask queue.

/** The items of all batches, in order. */
export function oneByOne<T>(batches: AsyncGenerator<T[]>): AsyncIterableIterator<T> {
  let batch: readonly T[] = []
  let at = 0
  /** Calls that come while a batch is waited for keep their order. */
  let filling: Promise<IteratorResult<T>> | null = null

  async function fill(): Promise<IteratorResult<T>> {
    for (;;) {
      const { done, value } = await batches.next()
      if (done) return { done: true, value: undefined }
      if (value.length === 0) continue
      batch = value
      at = 1
      return { done: false, value: value[0]! }
    }
  }

  function next(): Promise<IteratorResult<T>> {
    if (filling !== null) return filling.then(next, next)
    if (at < batch.length) return Promise.resolve({ done: false, value: batch[at++]! })
    filling = fill().finally(() => {
      filling = null
    })
    return filling
  }

  return {
    next,
    async return() {
      batch = []
      await batches.return(undefined)
      return { done: true, value: undefined }
    },
    [Symbol.asyncIterator]() {
      return this
    },
  }
}
