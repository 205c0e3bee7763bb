// Settles a HEAD that looks as if somebody had put an old one back, when there is no sign of a newer one.

import type { WriteSession } from '../storage/port.ts'
import { nextHead } from './next-head.ts'

/**
 * Before packs are written: where HEAD seems to be put back, a pack that a crash leaves would count as a lost
 * snapshot's. Nothing was lost, since no such pack is there now. A HEAD of its own settles that: after a crash between
 * the removal of HEAD.prev.json and the next write, for one.
 */
export async function settleHead(session: WriteSession): Promise<void> {
  if (session.stored !== null && session.putBack) await session.swapHead(nextHead(session.stored.head, {}))
}
