// What verify and scrub report: one problem with a pack, its blocks, HEAD or a snapshot.

import { BLOCK, type BlockState } from '../blocks/scan-pack.ts'
import type { StoreContext } from '../blocks/store-context.ts'
import type { ErrorCode, HoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'
import { toHex } from '../format/hex.ts'
import type { PackIndex } from '../format/pack.ts'

/** One problem of a store. */
export interface Problem {
  /** The code that a load would throw. `IO_FAILED`: it could not be read, so it may still be intact. */
  code: ErrorCode
  /** The subject: `HEAD.json`, `pack …`, `snapshot 7`. */
  what: string
  message: string
  /** Name of the pack, if it is about one. */
  pack?: string
  /** Hex digests of the bad blocks, if it is about blocks: at most the first 100 of `blockCount`. */
  blocks?: string[]
  blockCount?: number
  /** Whether other packs have good copies of all these blocks, so that nothing is lost. A scrub does not find out. */
  hasGoodCopy?: boolean
  /**
   * HEAD records the blocks as bad, so persists do not reuse them. Nothing is left to do once every snapshot is intact
   * without them.
   */
  recorded?: boolean
  /**
   * Something in the place of a part of the store keeps writers out, a repair included. Loads do not need that part.
   */
  obstacle?: true
}

const BLOCKS_LISTED = 100

/** Whether HEAD records a block of a pack, or the whole pack, as bad. */
function isRecorded(head: Head, pack: string, digest: Uint8Array | null): boolean {
  const digests = head.damaged.find((damaged) => damaged.pack === pack)?.digests
  if (digests === undefined) return false
  return digests.length === 0 || (digest !== null && digests.includes(toHex(digest)))
}

/** The problem of a pack that is missing or unreadable, or whose index is damaged. */
export function packProblem(head: Head, pack: string, error: HoldfastError): Problem {
  const recorded = isRecorded(head, pack, null)
  return {
    code: error.code,
    what: `pack ${pack}`,
    message: error.message,
    pack,
    ...(recorded ? { recorded: recorded } : {}),
  }
}

/** The bad blocks of one pack, by entry of its index. */
export interface BadBlocksOf {
  states: Uint8Array
  /** Why the first unreadable block could not be read. */
  failure: unknown
}

/** Notes bad blocks. From now on persists of this store object do not reuse them, and record them in HEAD. */
export function noteBadBlocks(ctx: StoreContext, head: Head, pack: string, index: PackIndex, states: Uint8Array): void {
  for (const [entry, state] of states.entries()) {
    if (state === BLOCK.good) continue
    const digest = index.digest(entry)
    if (!isRecorded(head, pack, digest)) ctx.badBlocks.note(pack, digest)
  }
}

/** Makes one problem for blocks with wrong bytes, and one for blocks that the disk could not read. */
export function blockProblems(
  head: Head,
  pack: { name: string; index: PackIndex },
  { states, failure }: BadBlocksOf,
  isCopied: ((entry: number) => boolean) | null,
): Problem[] {
  const { name, index } = pack
  return [
    ...problemOf('PACK_DAMAGED', BLOCK.wrong, 'are not what was written'),
    ...problemOf('IO_FAILED', BLOCK.unreadable, `cannot be read: ${(failure as Error | null)?.message}`),
  ]

  function problemOf(code: ErrorCode, state: BlockState, verb: string): Problem[] {
    const blocks: string[] = []
    let blockCount = 0
    let hasGoodCopy = true
    let recorded = true
    for (let entry = 0; entry < states.length; entry++) {
      if (states[entry] !== state) continue
      const digest = index.digest(entry)
      if (blocks.length < BLOCKS_LISTED) blocks.push(toHex(digest))
      blockCount += 1
      hasGoodCopy &&= isCopied?.(entry) ?? false
      recorded &&= isRecorded(head, name, digest)
    }
    if (blockCount === 0) return []
    const good = hasGoodCopy ? '; other packs have good copies' : ''
    const message = `${blockCount} of the ${index.blocks} blocks of pack ${name} ${verb}${good}`
    const facts = { ...(isCopied === null ? {} : { hasGoodCopy }), ...(recorded ? { recorded } : {}) }
    return [{ code, what: `pack ${name}`, message, pack: name, blocks, blockCount, ...facts }]
  }
}
