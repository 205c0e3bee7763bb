// Tracks running work, so that its memory is not reused or freed before it settles.

export interface Lanes {
  /** Counts `work` as in flight until it settles. */
  track<T>(work: Promise<T>): Promise<T>
  /** Waits until no tracked work is running. Never rejects: the caller that started the work gets its error. */
  drain(): Promise<void>
}

export function createLanes(): Lanes {
  const inFlight = new Set<Promise<unknown>>()
  return {
    track(work) {
      inFlight.add(work)
      work.then(
        () => inFlight.delete(work),
        () => inFlight.delete(work),
      )
      return work
    },
    async drain() {
      while (inFlight.size > 0) await Promise.allSettled(inFlight)
    },
  }
}
