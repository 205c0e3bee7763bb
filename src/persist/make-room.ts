// Makes room for packs on a full disk.

import type { StoreContext } from '../blocks/store-context.ts'
import { isHoldfastError } from '../errors.ts'
import type { PackSink } from '../storage/port.ts'

/** On a full disk the images go first: they can be made again. */
export function makingRoom({ local: { images } }: StoreContext, sink: PackSink): PackSink {
  if (images === null) return sink
  return {
    ...sink,
    async write(views, position) {
      try {
        await sink.write(views, position)
      } catch (error) {
        if (!isHoldfastError(error, 'NO_SPACE') || (await images.free()) === 0) throw error
        await sink.write(views, position)
      }
    },
  }
}
