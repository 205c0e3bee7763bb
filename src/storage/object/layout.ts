// The names of a store's objects below its prefix.
//
//    HEAD.json                             replaced by compare-and-swap, and by nothing else
//    STORE.json                            written once
//    packs/<key>                           <revision that it is meant for, 16 hex digits>-<32 random hex digits>
//    heads/<inverse>-<write id>.json       copies of HEAD; inverse: 2^53 - 1 - revision, 16 hex digits, so that the
//                                          newest is listed first
//    quarantine/<name>.json                marks a pack, or is a copy of a file
//    orphans.json                          its time says when packs that no HEAD names were looked for
//    probe/…, clock/…                      made to learn something of the server, and deleted

import { randomBytes } from 'node:crypto'
import type { Listed, ListedObject, ObjectClient } from './client.ts'
import { attemptRequest } from './retry.ts'

export const HEAD = 'HEAD.json'
export const STORE = 'STORE.json'
export const PACKS = 'packs/'
export const HEADS = 'heads/'
export const ORPHANS = 'orphans.json'
export const QUARANTINE = 'quarantine/'

export function newPackKey(revision: number): string {
  return `${revision.toString(16).padStart(16, '0')}-${randomBytes(16).toString('hex')}`
}

export function copiesOf(revision: number): string {
  return `${HEADS}${(Number.MAX_SAFE_INTEGER - revision).toString(16).padStart(16, '0')}-`
}

/** The revision and the write id of a copy of HEAD, by its key; null: it is no such copy. */
export function copyOf(key: string): { revision: number; write: string } | null {
  const parts = /^heads\/([0-9a-f]{16})-([0-9a-f]{16})\.json$/.exec(key)
  if (parts === null) return null
  return { revision: Number.MAX_SAFE_INTEGER - Number.parseInt(parts[1]!, 16), write: parts[2]! }
}

/** All objects below a prefix, or the first `max` of them. */
export async function listAll(
  client: ObjectClient,
  prefix: string,
  max = Number.POSITIVE_INFINITY,
): Promise<ListedObject[]> {
  const objects: ListedObject[] = []
  let next: string | null = null
  do {
    const after: string | null = next
    const listed: Listed = await attemptRequest(client.location, `listing ${prefix}`, () =>
      client.list(prefix, after ?? undefined),
    )
    objects.push(...listed.objects)
    next = listed.next
  } while (next !== null && objects.length < max)
  return objects
}
