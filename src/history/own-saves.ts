// Remembers the saves that this process made, so that `HEAD_CONFLICT` can tell its own saves from somebody else's. It knows only what moved
// HEAD from one snapshot to the next; a rollback or another process's save breaks the chain.

/** How many stores, and how many saves of each, are remembered. An older one counts as somebody else's. */
const STORES_MAX = 1000
const SAVES_MAX = 1000

interface Chain {
  /** Sequences that were current one after the other, oldest first. Null: the store had no snapshot. */
  sequences: Set<number | null>
  last: number | null
}

const chains = new Map<string, Chain>()

/** Notes that this process replaced the snapshot `from` by its own snapshot `to`. */
export function noteSave(storeId: string, from: number | null, to: number): void {
  if (from === to) return
  let chain = chains.get(storeId)
  if (chain === undefined || chain.last !== from) chain = { sequences: new Set([from]), last: from }
  chain.sequences.add(to)
  chain.last = to
  if (chain.sequences.size > SAVES_MAX) chain.sequences.delete(chain.sequences.values().next().value!)
  // The least recently saved store is forgotten first.
  chains.delete(storeId)
  chains.set(storeId, chain)
  if (chains.size > STORES_MAX) chains.delete(chains.keys().next().value!)
}

/** Whether nobody but this process moved HEAD from `from` to `to`, and only by saves. */
export function isOwnSave(storeId: string, from: number | null, to: number | null): boolean {
  const chain = chains.get(storeId)
  return chain !== undefined && chain.last === to && chain.sequences.has(from)
}
