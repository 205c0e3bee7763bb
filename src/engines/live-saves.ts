// The adapter of a live engine as its saves use it: never of an unsound engine, and with changes held back when an attempt failed.

import type { EngineAdapter, SaveContext } from './adapter.ts'

/**
 * The adapter as saves use it. An engine whose blobs are read after the capture may change meanwhile: the first attempt lets changes pass, and
 * every later one holds them until the blobs are read.
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
        const state = await adapter.save(engine, context)
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
