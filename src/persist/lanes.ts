// Keeps account of what is in flight, so that nothing outlives the memory it works on.

export interface Lanes {
  /** Counts `work` as in flight until it settles. */
  track<T>(work: Promise<T>): Promise<T>
  /** Waits until nothing is in flight. Never rejects: whoever started the work has its error. */
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
