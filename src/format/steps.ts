/** Long work in steps of a few milliseconds: whoever runs it decides what happens between them. */
export type Steps<T> = Generator<void, T, void>

/** All steps, one after the other. */
export function atOnce<T>(steps: Steps<T>): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
  }
}
