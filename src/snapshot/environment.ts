import { HoldfastError, isDamage } from '../errors.ts'
import type { Head } from '../format/head.ts'
import { fromHex } from '../format/hex.ts'
import { STORE_ID_BYTES } from '../format/limits.ts'
import type { FileSystem } from '../fs/port.ts'
import type { OnWarning } from '../progress.ts'
import type { Storage, StoredHead } from '../storage/port.ts'
import { type BlockSource, openBlockSource } from './blocks.ts'
import type { OpenPack, PackShelf } from './packs.ts'

/** What every operation of one open store works with. */
export interface Environment {
  storage: Storage
  /** For the caller's own files: blob sources and targets. */
  fs: FileSystem
  shelf: PackShelf
  warn: OnWarning
  badBlocks: BadBlocks
}

/** Blocks that reads of this process found to be bad; the next write records them in HEAD. Pack name → hex digests. */
export type BadBlocks = Map<string, Set<string>>

export function noteBadBlock(env: Environment, pack: string, digest: Uint8Array): void {
  const digests = env.badBlocks.get(pack) ?? new Set()
  digests.add(Buffer.from(digest).toString('hex'))
  env.badBlocks.set(pack, digests)
}

/** Opens packs by name. Damaged and missing ones are answered apart: their blocks may be elsewhere. */
export async function openPacks(
  env: Environment,
  stored: StoredHead,
  names: readonly string[],
): Promise<{ packs: OpenPack[]; failures: HoldfastError[] }> {
  const storeId = fromHex(stored.head.storeId, STORE_ID_BYTES)
  const packs: OpenPack[] = []
  const failures: HoldfastError[] = []
  try {
    for (const name of names) {
      try {
        packs.push(await env.shelf.open(name, storeId))
      } catch (error) {
        if (!isDamage(error)) throw error
        failures.push(error)
      }
    }
  } catch (error) {
    for (const pack of packs) await pack.release()
    throw error
  }
  return { packs, failures }
}

export async function openSourceOf(
  env: Environment,
  packs: readonly OpenPack[],
  failures: readonly unknown[],
  others?: () => Promise<BlockSource | null>,
): Promise<BlockSource> {
  return await openBlockSource(packs, {
    failures,
    others,
    onBadBlock: (pack, digest) => noteBadBlock(env, pack, digest),
  })
}

/** A store written by a newer version is read, not written. */
export function assertWritable(env: Environment, stored: StoredHead): void {
  if (stored.unknown.length === 0) return
  throw new HoldfastError(
    'VERSION_UNSUPPORTED',
    `${env.storage.location} was written by a newer holdfast (HEAD has ${stored.unknown.join(', ')}): it can be read, not written`,
    { details: { unknown: stored.unknown } },
  )
}

/** Optimistic concurrency: the caller says which snapshot it believes to be the current one. */
export function assertExpected(env: Environment, head: Head | null, expected: number | null | undefined): void {
  const current = head?.head ?? null
  if (expected === undefined || expected === current) return
  throw new HoldfastError(
    'HEAD_CONFLICT',
    `${env.storage.location}: expected snapshot ${expected} to be the current one, but it is ${current}; load it and try again`,
    { details: { expected, current } },
  )
}
