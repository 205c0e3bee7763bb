// The adapter as the saves of a live engine use it. It refuses to save an unsound engine, and holds changes back after a failed attempt.

import type { EngineAdapter, SaveContext } from './adapter.ts'

/**
 * The adapter as saves use it. An engine whose blobs are read after the capture may change while they are read. The first attempt of a save
 * lets changes pass. Every later attempt holds them back until the blobs are read.
 */
export function savingAdapter<Engine>(
  adapter: EngineAdapter<Engine>,
  live: { assertSound: () => void; hold: (until: Promise<void>) => void },
): EngineAdapter<Engine> {
  return {
    ...adapter,
    async save(engine: Engine, context: SaveContext) {
      live.assertSound()
      let done = (): void => undefined
      if (context.attempt > 1) {
        live.hold(
          new Promise((resolve) => {
            done = resolve
          }),
        )
      }
      try {
        // Adapters copy everything synchronously after a failed attempt. Here changes are held back instead, so the event loop stays free.
        const state = await adapter.save(engine, { ...context, attempt: 1 })
        if (state.captured === true) done()
        const release = state.release?.bind(state)
        return {
          ...state,
          async release() {
            done()
            await release?.()
          },
        }
      } catch (error) {
        done()
        throw error
      }
    },
  }
}
