// Reads a manifest with all its blobs, whether they are in its own block or in a blob list. Whoever needs a manifest
// from the disk reads it here.

import type { BlobEntry } from '../format/blob-entry.ts'
import { decodeListBlock, isBefore, type ListLink } from '../format/blob-list.ts'
import { BLOBS_MAX, LIST_DEPTH_MAX, LIST_TEXT_BYTES_MAX } from '../format/limits.ts'
import { assertBlobsAddUp, decodeManifest, listTextBytes, type Manifest } from '../format/manifest.ts'
import { damagedRecord } from '../format/record.ts'
import type { BlockSource, DamageContext } from './block-source.ts'

/** Blocks of a list are some KiB, and may be some MiB if the names are long. So many are read at once. */
const READ_AT_ONCE = 4

/** Gets some entries, in the order of the list, and is waited for before the next block is read. */
type OnEntries = (entries: readonly (readonly [string, BlobEntry])[]) => Promise<void>

/**
 * The manifest of this digest. `onBlock` is called with the digest of each block that it consists of, before that is
 * read. With `onEntries` its blocks are read one at a time, depth-first.
 *
 * @throws SNAPSHOT_DAMAGED, VERSION_UNSUPPORTED, IO_FAILED
 */
export async function readManifest(
  source: Pick<BlockSource, 'read'>,
  digest: Uint8Array,
  damageContext: DamageContext,
  onBlock?: (digest: Uint8Array) => void,
  onEntries?: OnEntries,
): Promise<Manifest> {
  onBlock?.(digest)
  const manifest = decodeManifest(await source.read(digest, damageContext))
  if (!('list' in manifest)) {
    await onEntries?.([...manifest.blobs].sort(([a], [b]) => (isBefore(a, b) ? -1 : 1)))
    return manifest
  }
  const { list, ...rest } = manifest
  return { blobs: await readList(source, list, damageContext, onBlock, onEntries), ...rest }
}

async function readList(
  source: Pick<BlockSource, 'read'>,
  root: ListLink,
  damageContext: DamageContext,
  onBlock: ((digest: Uint8Array) => void) | undefined,
  onEntries: OnEntries | undefined,
): Promise<Map<string, BlobEntry>> {
  const atOnce = onEntries === undefined ? READ_AT_ONCE : 1
  const blobs = new Map<string, BlobEntry>()
  let last: string | null = null
  let textBytes = 0

  await readPart(root, await readBlock(root), 1)
  assertBlobsAddUp(blobs)
  return blobs

  async function readBlock({ digest }: ListLink): Promise<Uint8Array> {
    onBlock?.(digest)
    return await source.read(digest, damageContext)
  }

  async function readPart({ count }: ListLink, block: Uint8Array, depth: number): Promise<void> {
    const before = blobs.size
    const decoded = decodeListBlock(block)
    if ('entries' in decoded) {
      for (const [name, entry] of decoded.entries) add(name, entry)
      await onEntries?.(decoded.entries)
    } else await readChildren(decoded.children, depth)
    if (blobs.size - before !== count) throw wrong(`a part of ${count} blobs has ${blobs.size - before}`)
  }

  async function readChildren(children: readonly ListLink[], depth: number): Promise<void> {
    if (depth === LIST_DEPTH_MAX) throw wrong('it is too deep')
    if (depth === 1 && children.length === 1) throw wrong('its root has one child')
    for (let at = 0; at < children.length; at += atOnce) {
      const links = children.slice(at, at + atOnce)
      const blocks = await Promise.all(links.map(readBlock))
      for (const [i, block] of blocks.entries()) await readPart(links[i]!, block, depth + 1)
    }
  }

  /** Names ascend over the whole list, so no part of it can be named twice. */
  function add(name: string, entry: BlobEntry): void {
    if (last !== null && !isBefore(last, name)) throw wrong('its names are out of order')
    last = name
    textBytes += listTextBytes(name, entry.type)
    if (textBytes > LIST_TEXT_BYTES_MAX) throw wrong(`its names have more than ${LIST_TEXT_BYTES_MAX} bytes`)
    blobs.set(name, entry)
    if (blobs.size > BLOBS_MAX) throw wrong(`it has more than ${BLOBS_MAX} blobs`)
  }
}

function wrong(reason: string): Error {
  return damagedRecord('blob list', reason)
}
