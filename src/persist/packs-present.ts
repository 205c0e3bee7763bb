// Checks, before HEAD is swapped, that the older packs which the new snapshot needs are on the disk.

import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import type { HeadPack } from '../format/head.ts'
import type { WriteSession } from '../storage/port.ts'

/**
 * Each pack that the snapshot builds on must still be there at its full length: otherwise the snapshot is broken from
 * the start.
 */
export async function assertPacksPresent(
  ctx: StoreContext,
  session: WriteSession,
  packs: readonly HeadPack[],
  needed: ReadonlySet<number>,
): Promise<void> {
  // What a shared HEAD names is there, and the swap proves that HEAD still names it.
  if (!ctx.storage.supports.alone) return
  await Promise.all(packs.filter(({ id }) => needed.has(id)).map((pack) => assertPackPresent(ctx, session, pack)))
}

async function assertPackPresent(
  ctx: StoreContext,
  session: WriteSession,
  { name, bytes }: Pick<HeadPack, 'name' | 'bytes'>,
): Promise<void> {
  const found = await session.packBytes(name)
  if (found === bytes) return
  // So the next persist does not count on it, and writes its blocks again.
  ctx.badBlocks.notePack(name)
  throw new HoldfastError(
    found === null ? 'PACK_MISSING' : 'PACK_DAMAGED',
    `pack ${name} ${found === null ? 'is missing' : `has ${found} bytes`}, HEAD says ${bytes}; nothing was committed, persist again`,
    { details: { pack: name, bytes, found } },
  )
}
