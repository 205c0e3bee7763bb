// What this process knows of packs by their names: HEAD says what their objects are called. Bounded, oldest use first
// out.

import type { Head } from '../../format/head.ts'

interface KnownPack {
  key: string
  bytes: number
  /** -1: not known. */
  blocks: number
}

export interface KnownPacks {
  get(name: string): KnownPack | undefined
  nameOf(key: string): string | undefined
  add(name: string, pack: KnownPack): void
  addHead(head: Head): void
}

/** Of a few HEADs of the largest size. */
const PACKS_MAX = 100_000

export function createKnownPacks(): KnownPacks {
  const byName = new Map<string, KnownPack>()
  const names = new Map<string, string>()

  function add(name: string, pack: KnownPack): void {
    byName.delete(name)
    byName.set(name, pack)
    names.set(pack.key, name)
    if (byName.size <= PACKS_MAX) return
    const [oldest, { key }] = byName.entries().next().value!
    byName.delete(oldest)
    names.delete(key)
  }

  return {
    get: (name) => byName.get(name),
    nameOf: (key) => names.get(key),
    add,
    addHead({ packs, retired }) {
      for (const { name, bytes, key } of retired) if (key !== undefined) add(name, { key, bytes, blocks: -1 })
      for (const { name, bytes, blocks, key } of packs) if (key !== undefined) add(name, { key, bytes, blocks })
    },
  }
}
