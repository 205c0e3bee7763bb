// After a read of a blob met damage: looks for the other bad blocks of the blob, so that the next persist knows them
// all. Otherwise each restart of a service would find one of them, and each persist between would build on the others.

import { chunkRuns } from '../blocks/blob-dag.ts'
import type { BlockSource, DamageContext } from '../blocks/block-source.ts'
import { clock } from '../clock.ts'
import { isHoldfastError } from '../errors.ts'
import type { BlobEntry } from '../format/blob-entry.ts'
import { readChunk } from './execute-read.ts'

/** Reads no more than this: a second or less. A persist then reads the packs that turned out to be damaged. */
const LOOK_ON_BYTES = 128 * 1024 * 1024

/** Reads the chunks of a damaged blob; the source notes each that is bad. Rejects only with what is not holdfast's. */
export async function lookOn(source: BlockSource, entry: BlobEntry, damageContext: DamageContext): Promise<void> {
  let readBytes = 0
  try {
    for await (const run of chunkRuns(source, entry, damageContext)) {
      let position = run.offset
      for (let i = 0; i < run.count; i++) {
        if (readBytes > LOOK_ON_BYTES) return
        readBytes += run.lengths[i]!
        await readOrNoted(source, run, i, position, damageContext)
        position += run.lengths[i]!
        await clock.nextTurn()
      }
    }
  } catch (error) {
    // A node is damaged or the disk fails, so the chunks below cannot be read.
    if (!isHoldfastError(error)) throw error
  }
}

async function readOrNoted(...read: Parameters<typeof readChunk>): Promise<void> {
  try {
    await readChunk(...read)
  } catch (error) {
    if (!isHoldfastError(error)) throw error
  }
}
