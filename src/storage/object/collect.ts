// Deletes what HEADs have given up, and gives up what no writer has named for long. Invariants:
//
//  1. a pack that HEAD retired is deleted when readers had their grace, counted by the server's clock from the moment
//     at which the copy of the HEAD that retired it was written, and only while two HEADs or more have it retired. Its
//     name leaves `retired` when it is gone;
//  2. a pack that HEAD does not name is deleted only if it is meant for the floor of a HEAD that was read back, or
//     below: no HEAD names it ever again. The floor is raised by a swap; how fast it follows is a matter of room, never
//     of safety;
//  3. what is in quarantine stays.
//
// What HEAD does not name is found by listing all packs, a request for each thousand. So it is looked for only now and
// then; the time of `orphans.json` says when that was last.

import { randomBytes } from 'node:crypto'
import type { Head } from '../../format/head.ts'
import { WRITES_KEPT } from '../../format/limits.ts'
import { revisionOfKey } from '../../format/pack-key.ts'
import type { Collected, WriteSession } from '../port.ts'
import type { ObjectClient } from './client.ts'
import { serverTimeMs } from './head-cell.ts'
import type { ObjectReader } from './inspect.ts'
import { copyOf, HEADS, listAll, ORPHANS, PACKS } from './layout.ts'
import { attemptRequest, backOff } from './retry.ts'

const DELETE_TRIES = 6
const DELETES_AT_ONCE = 8
/** A part of the time that orphans are kept passes between two looks for them. */
const ORPHAN_LOOKS = 7

interface CollectOptions {
  client: ObjectClient
  reader: ObjectReader
  /** HEAD as it was last read or written by this session. */
  head: () => Head
}

export function createCollect({ client, reader, head }: CollectOptions): NonNullable<WriteSession['collect']> {
  return async ({ graceMs, orphanMs, signal, dryRun = false }, swap) => {
    const nowMs = await serverTimeMs(client, randomBytes(16).toString('hex'))
    const before = head()
    const copies = (await listAll(client, HEADS)).flatMap(({ key, lastModifiedMs }) => {
      const copy = copyOf(key)
      return copy === null ? [] : [{ key, revision: copy.revision, lastModifiedMs }]
    })
    const isDue = await orphansAreDue(client, nowMs, orphanMs)
    const found = isDue ? await reader.packs({ named: false }) : []
    const result: Collected = { deletedPacks: 0, deletedBytes: 0, retiredBytes: 0, waitingPacks: 0 }

    const given: { name: string; key: string; bytes: number }[] = []
    const held = before.retired.length === 0 ? new Set<string>() : await reader.marked()
    for (const { name, key, bytes, revision } of before.retired) {
      if (key === undefined) continue
      const retiredMs = retiredAt(copies, revision)
      if (before.revision <= revision || retiredMs === null || nowMs - retiredMs < graceMs) result.waitingPacks += 1
      // In quarantine it stays, and its name leaves when somebody has deleted it.
      else if (!held.has(key) || (await isGone(key))) given.push({ name, key, bytes })
    }
    const gone = new Set<string>()
    const removed = new Set<string>()
    await atOnce(given, async ({ name, key, bytes }) => {
      if (!(await remove(key, bytes))) return
      gone.add(name)
      result.retiredBytes += bytes
    })

    const old = unnamed(before).filter(({ lastModifiedMs }) => nowMs - lastModifiedMs >= orphanMs)
    const floor = Math.min(
      before.revision,
      old.reduce((highest, { key }) => Math.max(highest, revisionOfKey(key)!), before.floor ?? 0),
    )
    if (!dryRun && (gone.size > 0 || floor > (before.floor ?? 0))) await swap({ gone, floor })
    const reached = dryRun ? floor : (head().floor ?? 0)
    const garbage = unnamed(head()).filter(({ key }) => revisionOfKey(key)! <= reached)
    await atOnce(garbage, ({ key, bytes }) => remove(key, bytes))
    if (dryRun) return result
    if (isDue) await endLook()
    await removeCopies()
    return result

    async function atOnce<T>(items: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
      const left = [...items]
      const worker = async (): Promise<void> => {
        for (let item = left.shift(); item !== undefined; item = left.shift()) {
          signal?.throwIfAborted()
          await work(item)
        }
      }
      const ended = await Promise.allSettled(Array.from({ length: DELETES_AT_ONCE }, worker))
      for (const each of ended) if (each.status === 'rejected') throw each.reason
    }

    function unnamed({ packs, retired }: Head): typeof found {
      const named = new Set([...packs, ...retired].map(({ key }) => key))
      return found.filter(({ key }) => !named.has(key) && !removed.has(key))
    }

    async function remove(key: string, bytes: number): Promise<boolean> {
      if (!dryRun && !(await deleteObject(client, PACKS + key))) return false
      removed.add(key)
      result.deletedPacks += 1
      result.deletedBytes += bytes
      return true
    }

    /** Uploads of writers that died take room, too. */
    async function endLook(): Promise<void> {
      const uploads = await attemptRequest(client.location, 'listing uploads', () => client.listUploads(PACKS))
      const stale = uploads.filter(({ startedMs }) => nowMs - startedMs >= orphanMs)
      await atOnce(stale, ({ key, upload }) =>
        attemptRequest(client.location, `aborting the upload of ${key}`, () => client.abortUpload(key, upload)),
      )
      await attemptRequest(client.location, `writing ${ORPHANS}`, () => client.put(ORPHANS, Buffer.from('{}\n')))
    }

    async function isGone(key: string): Promise<boolean> {
      return (await attemptRequest(client.location, 'looking', () => client.head(PACKS + key))) === null
    }

    /** The newest copies stay, and those that a retired pack waits for. */
    async function removeCopies(): Promise<void> {
      const now = head()
      const oldest = Math.min(now.revision - WRITES_KEPT + 1, ...now.retired.map(({ revision }) => revision))
      await atOnce(
        copies.filter(({ revision }) => revision < oldest),
        ({ key }) => attemptRequest(client.location, `deleting ${key}`, () => client.delete(key)),
      )
    }
  }
}

async function orphansAreDue(client: ObjectClient, nowMs: number, orphanMs: number): Promise<boolean> {
  const [last] = await listAll(client, ORPHANS)
  return last === undefined || nowMs - last.lastModifiedMs >= orphanMs / ORPHAN_LOOKS
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
