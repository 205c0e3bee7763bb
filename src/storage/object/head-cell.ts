// HEAD.json in an object store, by compare-and-swap. An answer proves nothing but a 200: everything else is settled by
// reading HEAD.
//
//   won    our write id is in HEAD's `writes`
//   lost   HEAD's revision is above the base's, the base's id is in its `writes`, and ours is not: the base's ETag
//          never comes back, because every version is unique, so ours can never land
//   else   HEAD is still the base, or an older one was served: the same bytes are sent again with the same ETag and id,
//          and at most one of them lands
//
// After a swap, and before anybody is told, a copy of the new HEAD is put beside it and its revision is listed: of two
// writers that a bad server let through, the later to list sees both copies. Nothing is deleted here.

import { clock } from '../../clock.ts'
import { HoldfastError } from '../../errors.ts'
import type { Head } from '../../format/head.ts'
import { WRITES_KEPT } from '../../format/limits.ts'
import { revisionOfKey } from '../../format/pack-key.ts'
import { term } from '../../terms.ts'
import type { MakeHead, StoredHead } from '../port.ts'
import { isConflict, isRefusal, type ObjectClient, ObjectError } from './client.ts'
import { packHead, unpackHead } from './head-bytes.ts'
import type { KnownPacks } from './known-packs.ts'
import { copiesOf, copyOf, HEAD, listAll, STORE } from './layout.ts'
import { assertSupported, probe, type Quoting, quote } from './probe.ts'
import { attemptRequest, backOff, requestFailed } from './retry.ts'

/** A HEAD, and its version on the server. */
export interface RemoteHead extends StoredHead {
  /** Null: it was replaced since, or the server did not say. */
  etag: string | null
}

/** What all sessions and readers of one storage share. */
export interface HeadCell {
  /** HEAD as the server has it. Null: there is no store. */
  read(): Promise<RemoteHead | null>
  /** Replaces HEAD, made from `base` or from the HEAD of whoever was faster. Null: nothing was to be changed. */
  swap(base: RemoteHead, next: Head | MakeHead, ready?: () => Promise<unknown>): Promise<RemoteHead | null>
  /** Puts a HEAD where there is none, or in the place of the version `etag`. Answers what is there then. */
  put(head: Head, etag: string | null): Promise<RemoteHead>
  /** Whether a swap whose outcome was not known may still take effect on this HEAD. */
  isUncertain(head: Head): boolean
}

/** A writer that loses this often gives up. */
const ROUNDS_MAX = 64
const PUTS_MAX = 12
/** So many refused swaps of a HEAD that did not move are the server's doing. */
const REFUSALS_MAX = 8
const STALE_READS_MAX = 6

export function createHeadCell(client: ObjectClient, known: KnownPacks, settings: { quoting: Quoting }): HeadCell {
  const { location } = client
  let newest: RemoteHead | null = null
  let unknownFrom: number | null = null
  /** Of reads: a server that does not take one form gives the whole HEAD each time. */
  let readQuoting: Quoting | null = null

  async function fetch(): Promise<RemoteHead | null> {
    const cached = newest
    const form = readQuoting ?? settings.quoting
    const condition = cached?.etag == null ? {} : { ifNoneMatch: quote(cached.etag, form) }
    const got = await attemptRequest(location, 'reading HEAD', () => client.get(HEAD, condition))
    if (got.state === 'missing') return null
    if (got.state === 'unmodified') return cached
    if (cached !== null && got.etag === cached.etag && Buffer.compare(got.bytes, cached.bytes) === 0) {
      readQuoting = form === 'quoted' ? 'unquoted' : 'quoted'
      return cached
    }
    return { ...(await unpackHead(got.bytes, `${location}/${HEAD}`)), bytes: got.bytes, etag: got.etag }
  }

  async function read(): Promise<RemoteHead | null> {
    for (let tries = 1; ; tries++) {
      const found = (await fetch()) ?? (await readAgain())
      if (found === null) return null
      if (newest === null || found.head.revision >= newest.head.revision) return note(found)
      // A cache on the way may serve an old HEAD for a moment.
      if (tries < STALE_READS_MAX) await backOff(tries)
      else throw rolledBack(found.head, newest.head)
    }
  }

  /** After HEAD was not there: null if there was never one. */
  async function readAgain(): Promise<RemoteHead | null> {
    const seen = newest !== null
    if (!seen && (await attemptRequest(location, 'looking for STORE.json', () => client.head(STORE))) === null)
      return null
    // STORE.json is written after HEAD: where it is, a HEAD that is being made is there by now.
    const found = await fetch()
    if (found !== null) return found
    throw new HoldfastError(
      'HEAD_MISSING',
      `${location}: HEAD.json is missing, although ${seen ? 'it was read before' : 'there is a STORE.json'}; ${term('repair')} puts it back from a copy`,
      { details: { path: `${location}/${HEAD}` } },
    )
  }

  /** Takes a HEAD as the newest. The one before must be in its history. */
  function note(found: RemoteHead): RemoteHead {
    if (newest !== null && newest.head.storeId === found.head.storeId) {
      const ahead = found.head.revision - newest.head.revision
      const before = newest.head.writes[0]
      const there = found.head.writes[ahead]
      if (before !== undefined && there !== undefined && there !== before) throw forked(found.head, [before, there])
    }
    newest = found
    known.addHead(found.head)
    if (unknownFrom !== null && found.head.revision > unknownFrom) unknownFrom = null
    return found
  }

  function forked({ revision }: Head, writes: readonly string[]): HoldfastError {
    return new HoldfastError(
      'HEAD_FORKED',
      `${location}: two writers replaced the same HEAD, and the server told both that they succeeded. Stop all writers: both HEADs are kept in ` +
        'heads/, and the server does not do conditional writes',
      { details: { location, revision, writes } },
    )
  }

  function rolledBack(found: Head, seen: Head): HoldfastError {
    return new HoldfastError(
      'STORE_ROLLED_BACK',
      `${location}: HEAD is of revision ${found.revision}, but revision ${seen.revision} was read before: an old copy was put in its place`,
      { details: { location, revision: found.revision, newest: seen.revision, files: [] } },
    )
  }

  async function swap(
    first: RemoteHead,
    next: Head | MakeHead,
    ready: () => Promise<unknown> = async () => undefined,
  ): Promise<RemoteHead | null> {
    let base = first
    for (let rounds = 1; ; rounds++) {
      if (base.etag === null) base = (await read()) ?? base
      if (typeof next !== 'function' && base.head.revision !== first.head.revision) throw conflict(base.head)
      const made = typeof next === 'function' ? await next(base) : next
      if (made === null) return null
      await ready()
      const proposed = withKeys(made, base.head)
      const { won, head } = await propose(base, proposed, await packHead(proposed))
      if (won) return head
      if (rounds >= ROUNDS_MAX) throw conflict(head.head)
      base = head
      await backOff(Math.min(rounds, 5))
    }
  }

  function conflict({ revision, current }: Head): HoldfastError {
    return new HoldfastError(
      'HEAD_CONFLICT',
      `${location} was written to by another writer while this one worked; nothing was committed, try again`,
      { details: { location, revision, current } },
    )
  }

  /** The HEAD with the keys of its packs. What it names must never have been given up. */
  function withKeys(head: Head, base: Head): Head {
    if (head.revision !== base.revision + 1 || head.writes[1] !== base.writes[0])
      throw new Error('bug: HEAD is not made from its base')
    const named = new Set(base.packs.map(({ name }) => name))
    const retired = new Set(base.retired.map(({ name }) => name))
    const packs = head.packs.map((pack) => {
      if (named.has(pack.name)) return pack
      const key = known.get(pack.name)?.key
      if (key === undefined) throw new Error(`bug: pack ${pack.name} was not written here`)
      if (retired.has(pack.name) || revisionOfKey(key)! <= (base.floor ?? 0)) {
        throw new Error(`bug: pack ${pack.name} was given up, and cannot be named again`)
      }
      return { ...pack, key }
    })
    return { ...head, packs }
  }

  /** Sends a HEAD until it is known whether it took the place of the base. */
  async function propose(base: RemoteHead, head: Head, bytes: Uint8Array): Promise<{ won: boolean; head: RemoteHead }> {
    const id = head.writes[0]!
    let ambiguous = false
    let refusals = 0
    let cause: unknown
    for (let puts = 1; puts <= PUTS_MAX; puts++) {
      try {
        const { etag } = await client.put(HEAD, bytes, { ifMatch: quote(base.etag!, settings.quoting) })
        return { won: true, head: await keep({ head, bytes, unknown: [], etag }) }
      } catch (error) {
        if (!(error instanceof ObjectError)) throw error
        if (isRefusal(error) && error.status !== 404 && !ambiguous)
          throw requestFailed(error, 'replacing HEAD', location)
        // Requests before it may have been carried out, or may be yet.
        ambiguous = true
        cause = error
        if (isConflict(error)) refusals += 1
      }
      const outcome = await settle(base, id).catch((error: unknown) => {
        if (error instanceof HoldfastError && error.code !== 'IO_FAILED') throw error
        return null
      })
      if (outcome === 'lost') return { won: false, head: newest! }
      if (outcome === 'won') return { won: true, head: await keep({ head, bytes, unknown: [], etag: null }) }
      if (refusals === REFUSALS_MAX) await probeAgain()
      await backOff(puts)
    }
    unknownFrom = base.head.revision
    throw commitUnknown(id, cause)
  }

  /** What HEAD proves of a swap; null: nothing. */
  async function settle(base: RemoteHead, id: string): Promise<'won' | 'lost' | null> {
    const found = await fetch()
    if (found === null)
      throw new HoldfastError('HEAD_MISSING', `${location}: HEAD.json is gone`, {
        details: { path: `${location}/${HEAD}` },
      })
    const { head } = found
    if (head.revision <= base.head.revision) return null
    if (newest !== null && head.revision < newest.head.revision) return null
    if (head.writes.includes(id)) {
      note(found)
      return 'won'
    }
    if (head.revision - base.head.revision >= WRITES_KEPT) {
      const ids = (await copies(base.head.revision + 1)).map(({ write }) => write)
      note(found)
      return ids.includes(id) ? 'won' : ids.length > 0 ? 'lost' : null
    }
    note(found)
    return 'lost'
  }

  async function probeAgain(): Promise<void> {
    const probed = await probe(client)
    assertSupported(client, probed)
    settings.quoting = probed.quoting!
  }

  function commitUnknown(id: string, cause: unknown): HoldfastError {
    return new HoldfastError(
      'COMMIT_UNKNOWN',
      `${location}: HEAD may or may not be replaced (write ${id}): ${(cause as Error).message}. Persist again: it is idempotent`,
      { details: { location, write: id }, cause },
    )
  }

  async function copies(revision: number): Promise<{ write: string }[]> {
    return (await listAll(client, copiesOf(revision))).flatMap(({ key }) => copyOf(key) ?? [])
  }

  /** Puts the copy of our own HEAD, and looks for another one of the same revision. */
  async function keep(mine: RemoteHead): Promise<RemoteHead> {
    const { head, bytes } = mine
    const id = head.writes[0]!
    try {
      await attemptRequest(location, 'keeping a copy of HEAD', async () => {
        await client.put(`${copiesOf(head.revision)}${id}.json`, bytes, { ifAbsent: true }).catch((error: unknown) => {
          // The name is ours alone, so it is there already.
          if (!(error instanceof ObjectError) || error.status !== 412) throw error
        })
      })
      const others = (await copies(head.revision)).filter(({ write }) => write !== id)
      if (others.length > 0) throw forked(head, [id, ...others.map(({ write }) => write)])
    } catch (error) {
      if (error instanceof HoldfastError && error.code === 'IO_FAILED') {
        unknownFrom = head.revision
        throw commitUnknown(id, error)
      }
      throw error
    }
    // What was read back has the ETag too.
    if (newest?.head.revision === head.revision) return newest
    return newest === null || newest.head.revision < head.revision ? note(mine) : mine
  }

  async function put(head: Head, etag: string | null): Promise<RemoteHead> {
    const bytes = await packHead(head)
    const condition = etag === null ? { ifAbsent: true } : { ifMatch: quote(etag, settings.quoting) }
    let cause: unknown
    for (let puts = 1; puts <= PUTS_MAX; puts++) {
      try {
        const answer = await client.put(HEAD, bytes, condition)
        newest = null
        return await keep({ head, bytes, unknown: [], etag: answer.etag })
      } catch (error) {
        if (!(error instanceof ObjectError)) throw error
        if (isRefusal(error) && error.status !== 404) throw requestFailed(error, 'writing HEAD', location)
        cause = error
      }
      const got = await attemptRequest(location, 'reading HEAD', () => client.get(HEAD))
      if (got.state === 'found' && got.etag !== etag) {
        newest = null
        const found = { ...(await unpackHead(got.bytes, `${location}/${HEAD}`)), bytes: got.bytes, etag: got.etag }
        return found.head.writes[0] === head.writes[0] ? await keep(found) : note(found)
      }
      await backOff(puts)
    }
    unknownFrom = head.revision
    throw commitUnknown(head.writes[0]!, cause)
  }

  return {
    read,
    swap,
    put,
    isUncertain: ({ revision }) => unknownFrom !== null && revision <= unknownFrom,
  }
}

/** The time of the server, in ms since 1970: the Last-Modified of an object that was written now. */
export async function serverTimeMs(client: ObjectClient, name: string): Promise<number> {
  const key = `clock/${name}`
  await attemptRequest(client.location, 'asking for the time', () =>
    client.put(key, Buffer.from(clock.now().toISOString())),
  )
  const objects = await listAll(client, key)
  await attemptRequest(client.location, 'deleting', () => client.delete(key))
  const found = objects.find((object) => object.key === key)
  if (found !== undefined) return found.lastModifiedMs
  throw new HoldfastError('IO_FAILED', `${client.location}: an object that was written is not listed`, {
    details: { location: client.location, status: 200, code: 'NotListed' },
  })
}
