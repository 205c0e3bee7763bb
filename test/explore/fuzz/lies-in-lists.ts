// Blob lists: gives the manifests of a small store lists, as those of large ones have them, and lies in these.

import type { CID } from 'multiformats/cid'
import { blake3 } from '../../../src/format/blake3.ts'
import { CODEC_DAG_CBOR, CODEC_RAW, cidOf } from '../../../src/format/cid.ts'
import { toHex } from '../../../src/format/hex.ts'
import { KIND } from '../../../src/format/pack.ts'
import { encodeValue } from '../../../src/format/value.ts'
import type { Random } from '../../support/random.ts'
import type { Lie } from './lies-in-blocks.ts'
import { oddNumber, withOddField } from './odd-values.ts'
import type { Content, LoosePack, LooseStore } from './take-apart.ts'

type Child = [count: number, link: CID]

/** Entries of a leaf, and children of a list node: five blobs are a list of three levels. */
const ITEMS = 2

/** Every manifest has its blobs in a list, in the packs that it is in. */
export function listBlobs(loose: LooseStore): void {
  for (const manifest of [...loose.contents.values()]) {
    const fields = manifest.value as { format?: unknown; version: number; blobs: object } | undefined
    if (manifest.kind !== KIND.manifest || fields?.format !== 'holdfast-manifest') continue
    const packs = loose.packs.filter(({ copies }) => copies.some(({ content }) => content === manifest))
    const names = Object.keys(fields.blobs).sort((a, b) => a.length - b.length || (a < b ? -1 : 1))
    const blobs = fields.blobs as Record<string, unknown>
    let level = grouped(names).map((some): Child => {
      return [some.length, add(loose, packs, Object.fromEntries(some.map((name) => [name, blobs[name]])))]
    })
    while (level.length > 1) {
      level = grouped(level).map((some): Child => {
        return [some.reduce((sum, [count]) => sum + count, 0), add(loose, packs, some)]
      })
    }
    Object.assign(fields, { version: 2, blobs: level[0] })
  }
}

function grouped<T>(items: readonly T[]): T[][] {
  return Array.from({ length: Math.ceil(items.length / ITEMS) }, (_, i) => items.slice(ITEMS * i, ITEMS * (i + 1)))
}

function add({ contents }: LooseStore, packs: readonly LoosePack[], value: unknown): CID {
  const bytes = encodeValue(value, 'list')
  const digest = blake3(bytes)
  const was = toHex(digest)
  const known = contents.get(was)
  const content: Content = known ?? { was, codec: CODEC_DAG_CBOR, kind: KIND.manifest, bytes, value }
  contents.set(was, content)
  for (const { copies } of packs) {
    if (!copies.some((copy) => copy.content === content)) copies.push({ content, compressed: false, lie: {} })
  }
  return cidOf({ codec: CODEC_DAG_CBOR, digest })
}

export const liesInLists: readonly Lie[] = [lieAboutParts, lieAboutParts, lieInLeaf, lieAboutRoot, oddList]

function listBlocks(loose: LooseStore): Content[] {
  return [...loose.contents.values()].filter(
    ({ kind, value }) => kind === KIND.manifest && (value as { format?: unknown }).format === undefined,
  )
}

function links(loose: LooseStore): CID[] {
  return [...loose.contents.values()].map(({ codec, was }) => cidOf({ codec, digest: Buffer.from(was, 'hex') }))
}

function lieAboutParts(loose: LooseStore, random: Random): string | null {
  const nodes = listBlocks(loose).filter(({ value }) => Array.isArray(value))
  if (nodes.length === 0) return null
  const node = random.pick(nodes)
  const children = (node.value as Child[]).map(([count, link]): Child => [count, link])
  const child = random.pick(children)
  const own = cidOf({ codec: node.codec, digest: Buffer.from(node.was, 'hex') })
  const [name, next] = random.pick<[string, () => unknown[]]>([
    ['a part of another number', () => children.with(0, [oddNumber(random, child[0]), child[1]])],
    ['a part less', () => children.slice(1)],
    ['a part twice', () => [...children, child]],
    ['a part many times', () => Array.from({ length: 257 }, () => child)],
    ['its parts in turn', () => children.toReversed()],
    ['any block for a part', () => children.with(0, [child[0], random.pick(links(loose))])],
    ['itself below itself', () => children.with(0, [child[0], own])],
    ['a part that is raw', () => children.with(0, [child[0], rawLink(child[1])])],
    ['no parts', () => []],
  ])
  node.value = next()
  return `a list node has ${name}`
}

function rawLink(link: CID): CID {
  return cidOf({ codec: CODEC_RAW, digest: link.multihash.digest })
}

function lieInLeaf(loose: LooseStore, random: Random): string | null {
  const leaves = listBlocks(loose).filter(({ value }) => !Array.isArray(value))
  if (leaves.length === 0) return null
  const leaf = random.pick(leaves)
  const blobs = { ...(leaf.value as Record<string, Record<string, unknown>>) }
  const name = random.pick(Object.keys(blobs))
  const entry = { ...blobs[name] }
  const [what, next] = random.pick<[string, () => object]>([
    ['a blob less', () => Object.fromEntries(Object.entries(blobs).slice(1))],
    ['a blob more', () => ({ ...blobs, [random.pick(['more', '', 'x'.repeat(2_000), 'a\0b'])]: entry })],
    ['another size', () => ({ ...blobs, [name]: { ...entry, size: oddNumber(random, entry.size as number) } })],
    ['any root', () => ({ ...blobs, [name]: { ...entry, root: random.pick(links(loose)) } })],
    ['an odd entry', () => ({ ...blobs, [name]: withOddField(random, entry, links(loose)) })],
  ])
  leaf.value = next()
  return `a leaf of a list has ${what}`
}

function lieAboutRoot(loose: LooseStore, random: Random): string | null {
  const manifests = [...loose.contents.values()].filter(
    ({ value }) => (value as { format?: unknown } | undefined)?.format === 'holdfast-manifest',
  )
  if (manifests.length === 0) return null
  const fields = random.pick(manifests).value as { version: unknown; blobs: unknown }
  const [count, link] = fields.blobs as Child
  const [name, change] = random.pick<[string, () => object]>([
    ['of another number', () => ({ blobs: [oddNumber(random, count), link] })],
    ['that is any block', () => ({ blobs: [count, random.pick(links(loose))] })],
    ['of version 1', () => ({ version: 1 })],
    ['of version 3', () => ({ version: 3 })],
    ['of odd parts', () => ({ blobs: withOddField(random, fields.blobs) })],
  ])
  Object.assign(fields, change())
  return `a manifest has a list ${name}`
}

function oddList(loose: LooseStore, random: Random): string | null {
  const blocks = listBlocks(loose)
  if (blocks.length === 0) return null
  const block = random.pick(blocks)
  block.value = withOddField(random, block.value, links(loose))
  return 'a block of a list is odd'
}
