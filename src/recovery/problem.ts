// What verify and scrub report: one problem with a pack, its blocks, HEAD or a snapshot.

import { BLOCK, type BlockState } from '../blocks/scan-pack.ts'
import { noteBadBlock, type StoreContext } from '../blocks/store-context.ts'
import type { ErrorCode, HoldfastError } from '../errors.ts'
import type { Head } from '../format/head.ts'
import { toHex } from '../format/hex.ts'
import type { PackIndex } from '../format/pack.ts'

/** One thing that is wrong. */
export interface Problem {
  /** What a load that met this would throw. `IO_FAILED`: it could not be read, which says nothing about what is in it. */
  code: ErrorCode
  /** What it is about: `HEAD.json`, `pack …`, `snapshot 7`. */
  what: string
  message: string
  /** Name of the pack, if it is about one. */
  pack?: string
  /** Hex digests of the bad blocks, if it is about blocks: the first 100 of `blockCount`. */
  blocks?: string[]
  blockCount?: number
  /** Whether other packs have good copies of all these blocks, so that nothing is lost. A scrub does not find out. */
  hasGoodCopy?: boolean
  /** HEAD records it: persists do not count on these blocks any more. Nothing is left to do once every snapshot is intact without them. */
  recorded?: boolean
}

const BLOCKS_LISTED = 100

/** Whether HEAD records blocks of a pack as bad: the block, or all of it. */
function isRecorded(head: Head, pack: string, digest: Uint8Array | null): boolean {
  const digests = head.damaged.find((damaged) => damaged.pack === pack)?.digests
  if (digests === undefined) return false
  return digests.length === 0 || (digest !== null && digests.includes(toHex(digest)))
}

/** A pack that is missing, cannot be read, or whose index is not what was written. */
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

/** Bad blocks of one pack, by entry of its index. */
export interface BadBlocksOf {
  states: Uint8Array
  /** Why the first unreadable one is. */
  failure: unknown
}

/** Notes bad blocks: persists of this store object do not reuse them from now on, and record them in HEAD. */
export function noteBadBlocks(ctx: StoreContext, head: Head, pack: string, index: PackIndex, states: Uint8Array): void {
  for (const [entry, state] of states.entries()) {
    if (state === BLOCK.good) continue
    const digest = index.digest(entry)
    if (!isRecorded(head, pack, digest)) noteBadBlock(ctx, pack, digest)
  }
}

/** One problem for blocks with wrong bytes, and one for blocks that the disk could not read. */
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
