import { CODEC_RAW, cidText, parseCid } from '../../src/format/cid.ts'
import { decodeCommit } from '../../src/format/commit.ts'
import { decodeNode } from '../../src/format/dag.ts'
import { toHex } from '../../src/format/hex.ts'
import { ENTRY_BYTES } from '../../src/format/limits.ts'
import { decodeManifest } from '../../src/format/manifest.ts'
import { KIND } from '../../src/format/pack.ts'
import type { DirectoryImage } from '../faulty-disk/image.ts'
import { blocksOf, fileOf, headOf, packsOf } from '../support/lab.ts'

/*
 * What each snapshot needs, counted in the simplest way: each snapshot is walked from its manifest, and its blocks are
 * put into a set. Only for stores without compression.
 */

interface Stored {
  /** With its index entry. */
  bytes: number
  content: Uint8Array
}

/** By digest in hex: the blocks that each snapshot needs, by sequence, and what every block takes. */
export function bruteForce(image: DirectoryImage): { needs: Map<number, Set<string>>; stored: Map<string, Stored> } {
  const stored = new Map<string, Stored>()
  for (const path of packsOf(image)) {
    const file = fileOf(image, path)
    for (const { digest, offset, bytes } of blocksOf(image, path)) {
      stored.set(digest, { bytes: bytes + ENTRY_BYTES, content: file.subarray(offset, offset + bytes) })
    }
  }
  const needs = new Map<number, Set<string>>()
  for (const { sequence, manifest } of headOf(image).snapshots) {
    const found = new Set<string>()
    const root = toHex(parseCid(manifest).digest)
    found.add(root)
    const decoded = decodeManifest(stored.get(root)!.content)
    if (!('blobs' in decoded)) throw new Error('only for manifests of few blobs')
    for (const entry of decoded.blobs.values()) {
      if (entry.segments !== undefined) found.add(toHex(entry.segments))
      walk(toHex(entry.root.digest), entry.root.codec)
    }
    needs.set(sequence, found)

    function walk(digest: string, codec: number): void {
      found.add(digest)
      if (codec === CODEC_RAW) return
      const node = decodeNode(stored.get(digest)!.content, digest)
      for (let i = 0; i < node.count; i++) walk(toHex(node.digests.subarray(i * 32, (i + 1) * 32)), node.codec)
    }
  }
  return { needs, stored }
}

/** Stored bytes of the blocks that some of `of` need and none of `without`. */
export function bytesOf(image: DirectoryImage, of: readonly number[], without: readonly number[] = []): number {
  const { needs, stored } = bruteForce(image)
  const others = new Set(without.flatMap((sequence) => [...needs.get(sequence)!]))
  const mine = new Set(of.flatMap((sequence) => [...needs.get(sequence)!]))
  return [...mine].filter((digest) => !others.has(digest)).reduce((sum, digest) => sum + stored.get(digest)!.bytes, 0)
}

/** Stored bytes of the commit records that tell of a kept snapshot, in every pack that has one. */
export function recordBytesOf(image: DirectoryImage): number {
  const { storeId, snapshots } = headOf(image)
  const kept = new Map(snapshots.map((snapshot) => [snapshot.sequence, snapshot]))
  let total = 0
  for (const path of packsOf(image)) {
    const file = fileOf(image, path)
    for (const { kind, offset, bytes } of blocksOf(image, path)) {
      if (kind !== KIND.commit) continue
      const record = decodeCommit(file.subarray(offset, offset + bytes))
      const snapshot = kept.get(record.sequence)
      const isKept = snapshot?.manifest === cidText(record.manifest) && snapshot.time === record.time
      if (isKept && toHex(record.store) === storeId) total += bytes + ENTRY_BYTES
    }
  }
  return total
}
