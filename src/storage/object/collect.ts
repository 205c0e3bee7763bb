// Deletes what HEADs have given up, and gives up what no writer has named for long. Invariants:
//
//  1. a pack that HEAD retired is deleted when readers had their grace, counted by the server's clock from the moment at which the copy
//     of the HEAD that retired it was written, and only while two HEADs or more have it retired. Its name leaves `retired` when it is gone;
//  2. a pack that HEAD does not name is deleted only if it is meant for the floor of a HEAD that was read back, or below: no HEAD names it
//     ever again. The floor is raised by a swap; how fast it follows is a matter of room, never of safety;
//  3. what is in quarantine stays.

import { randomBytes } from 'node:crypto'
import type { Head } from '../../format/head.ts'
import { WRITES_KEPT } from '../../format/limits.ts'
import { revisionOfKey } from '../../format/pack-key.ts'
import type { Collected, WriteSession } from '../port.ts'
import type { ObjectClient } from './client.ts'
import { serverTimeMs } from './head-cell.ts'
import type { ObjectReader } from './inspect.ts'
import { copyOf, HEADS, listAll, PACKS } from './layout.ts'
import { attemptRequest, backOff } from './retry.ts'

const DELETE_TRIES = 6

interface CollectOptions {
  client: ObjectClient
  reader: ObjectReader
  /** HEAD as it was last read or written by this session. */
  head: () => Head
}

export function createCollect({ client, reader, head }: CollectOptions): NonNullable<WriteSession['collect']> {
  return async ({ graceMs, orphanMs, signal }, swap) => {
    const nowMs = await serverTimeMs(client, randomBytes(16).toString('hex'))
    const before = head()
    const copies = (await listAll(client, HEADS)).flatMap(({ key, lastModifiedMs }) => {
      const copy = copyOf(key)
      return copy === null ? [] : [{ key, revision: copy.revision, lastModifiedMs }]
    })
    const found = await reader.packs({ named: false })
    const there = new Set(found.map(({ key }) => key))
    const sizes = new Map(found.map(({ key, bytes }) => [key, bytes]))
    const result: Collected = { deletedPacks: 0, deletedBytes: 0, waitingPacks: 0 }

    const gone = new Set<string>()
    for (const { name, key, revision } of before.retired) {
      signal?.throwIfAborted()
      if (key === undefined) continue
      const retiredMs = retiredAt(copies, revision)
      if (before.revision <= revision || retiredMs === null || nowMs - retiredMs < graceMs) {
        result.waitingPacks += 1
        continue
      }
      if (!there.has(key)) {
        // Deleted by another collection, or in quarantine.
        if (await isGone(key)) gone.add(name)
      } else if (await remove(key)) gone.add(name)
    }

    const old = unnamed(before).filter(({ lastModifiedMs }) => nowMs - lastModifiedMs >= orphanMs)
    const floor = Math.min(
      before.revision,
      old.reduce((highest, { key }) => Math.max(highest, revisionOfKey(key)!), before.floor ?? 0),
    )
    if (gone.size > 0 || floor > (before.floor ?? 0)) await swap({ gone, floor })
    for (const { key } of unnamed(head())) {
      signal?.throwIfAborted()
      if (revisionOfKey(key)! <= (head().floor ?? 0)) await remove(key)
    }
    await removeCopies()
    return result

    function unnamed({ packs, retired }: Head): typeof found {
      const named = new Set([...packs, ...retired].map(({ key }) => key))
      return found.filter(({ key }) => !named.has(key) && !gone.has(key))
    }

    async function remove(key: string): Promise<boolean> {
      if (!(await deleteObject(client, PACKS + key))) return false
      result.deletedPacks += 1
      result.deletedBytes += sizes.get(key) ?? 0
      there.delete(key)
      return true
    }

    async function isGone(key: string): Promise<boolean> {
      return (await attemptRequest(client.location, 'looking', () => client.head(PACKS + key))) === null
    }

    /** The newest copies stay, and those that a retired pack waits for. */
    async function removeCopies(): Promise<void> {
      const now = head()
      const oldest = Math.min(now.revision - WRITES_KEPT + 1, ...now.retired.map(({ revision }) => revision))
      for (const { key, revision } of copies) {
        signal?.throwIfAborted()
        if (revision < oldest) await attemptRequest(client.location, `deleting ${key}`, () => client.delete(key))
      }
    }
  }
}

/** When the copy of the HEAD that retired a pack was written, or the next one that there is. */
function retiredAt(copies: readonly { revision: number; lastModifiedMs: number }[], revision: number): number | null {
  let first: { revision: number; lastModifiedMs: number } | null = null
  for (const copy of copies) {
    if (copy.revision >= revision && (first === null || copy.revision < first.revision)) first = copy
  }
  return first === null ? null : first.lastModifiedMs
}

/** Sends deletions until the object is not there. */
export async function deleteObject(client: ObjectClient, key: string): Promise<boolean> {
  for (let tries = 1; tries <= DELETE_TRIES; tries++) {
    await attemptRequest(client.location, `deleting ${key}`, () => client.delete(key))
    if ((await attemptRequest(client.location, `looking for ${key}`, () => client.head(key))) === null) return true
    await backOff(tries)
  }
  return false
}
