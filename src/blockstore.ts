// The entry `holdfast/blockstore`: the blocks of a store for programs that read by CID, as the read half of
// interface-blockstore 7.

import type { CID } from 'multiformats/cid'
import type { DamageContext } from './blocks/block-source.ts'
import { lazySourceOf, packsByLikelihood } from './blocks/open-packs.ts'
import type { OpenPack } from './blocks/pack-cache.ts'
import { isHoldfastError } from './errors.ts'
import { HASH_BLAKE3 } from './format/cid.ts'
import { fromHex } from './format/hex.ts'
import { DIGEST_BYTES, STORE_ID_BYTES } from './format/limits.ts'
import type { Store } from './index.ts'
import { insideOf, type StoreInside } from './inside.ts'

interface ReadOptions {
  signal?: AbortSignal | undefined
}

/** What interface-blockstore 7 has to read one by one. Blocks are found by their multihash, whatever the codec. */
export interface ReadableBlockstore {
  /** The block, in one part, checked against its CID. @throws NotFoundError, GetFailedError */
  get(cid: CID, options?: ReadOptions): AsyncGenerator<Uint8Array>
  /** Whether a pack of the current HEAD has the block. Its bytes are not read. @throws HasFailedError */
  has(cid: CID, options?: ReadOptions): Promise<boolean>
  /** In the order asked for. Each block is read when its bytes are. */
  getMany(
    cids: Iterable<CID> | AsyncIterable<CID>,
    options?: ReadOptions,
  ): AsyncGenerator<{ cid: CID; bytes: AsyncGenerator<Uint8Array> }>
}

/** An error of interface-store, told by its name. The cause is holdfast's, if there is one. */
class BlockstoreError extends Error {
  readonly code: string

  constructor(name: 'NotFoundError' | 'GetFailedError' | 'HasFailedError', message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = name
    this.code = { NotFoundError: 'ERR_NOT_FOUND', GetFailedError: 'ERR_GET_FAILED', HasFailedError: 'ERR_HAS_FAILED' }[
      name
    ]
  }
}

/** How often HEAD is read again when a pack that it named is gone because a writer has committed since. */
const HEAD_READS_MAX = 16

/**
 * The blocks of an open store, read by CID: chunks, nodes and manifests, as docs/format.md describes them. Nothing can
 * be written.
 */
export function asBlockstore(store: Store): ReadableBlockstore {
  const inside = insideOf(store, 'asBlockstore')

  async function* get(cid: CID, { signal }: ReadOptions = {}): AsyncGenerator<Uint8Array> {
    signal?.throwIfAborted()
    const block = await find(inside, cid, 'read').catch((cause: unknown) => {
      throw new BlockstoreError('GetFailedError', `block ${cid} cannot be read: ${(cause as Error).message}`, cause)
    })
    signal?.throwIfAborted()
    if (block === null) throw new BlockstoreError('NotFoundError', `${store.location} has no block ${cid}`)
    yield block
  }

  return {
    get,
    async has(cid, { signal } = {}) {
      signal?.throwIfAborted()
      const found = await find(inside, cid, 'look').catch((cause: unknown) => {
        throw new BlockstoreError(
          'HasFailedError',
          `block ${cid} cannot be looked up: ${(cause as Error).message}`,
          cause,
        )
      })
      return found !== null
    },
    async *getMany(cids, options) {
      for await (const cid of cids) yield { cid, bytes: get(cid, options) }
    },
  }
}

/** The bytes of a block, or nothing to `look` only; null when no pack has it. */
async function find({ ctx, run }: StoreInside, cid: CID, how: 'read' | 'look'): Promise<Uint8Array | null> {
  const { code, digest } = cid?.multihash ?? {}
  if (digest === undefined) throw new TypeError('it is no CID: pass one of multiformats, as CID.parse(text) gives')
  return await run(async () => {
    if (code !== HASH_BLAKE3 || digest.length !== DIGEST_BYTES) return null
    const context: DamageContext = { code: 'SNAPSHOT_DAMAGED', what: `block ${cid}`, details: { cid: cid.toString() } }
    for (let reads = 1; ; reads++) {
      const stored = await ctx.storage.readHead()
      if (stored === null) return null
      const { head } = stored
      const storeId = fromHex(head.storeId, STORE_ID_BYTES)
      const current = head.snapshots.find(({ sequence }) => sequence === head.current)
      const names = current === undefined ? head.packs.map(({ name }) => name) : packsByLikelihood(head, current)
      const packs: OpenPack[] = []
      const source = lazySourceOf(
        ctx,
        names.map((name) => async () => {
          const pack = await ctx.packCache.open(name, storeId)
          packs.push(pack)
          return pack
        }),
      )
      try {
        await source.loadIndexesFor(digest, 1)
        if (source.find(digest, 0) === -1) return null
        return how === 'look' ? new Uint8Array(0) : await source.read(digest, context)
      } catch (error) {
        if (!isHoldfastError(error) || reads >= HEAD_READS_MAX) throw error
        // A writer may have merged the pack into another one meanwhile.
        const now = await ctx.storage.readHead()
        if (now === null || now.head.revision === head.revision) throw error
      } finally {
        for (const pack of packs) await pack.release()
      }
    }
  })
}
