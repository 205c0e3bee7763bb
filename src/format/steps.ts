/** Long work in steps of a few milliseconds. The caller decides what happens between the steps. */
export type Steps<T> = Generator<void, T, void>

/** All steps, one after the other. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}
