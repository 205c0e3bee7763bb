// Asks a server whether it does what HEAD needs, on objects of its own below `probe/`. What it stores afterwards
// decides, not what it answers: servers differ in the status of a failed condition, and some ignore conditions and say
// 200.

import { randomBytes } from 'node:crypto'
import { HoldfastError } from '../../errors.ts'
import { isConflict, isRefusal, type ObjectClient, ObjectError, type PutOptions } from './client.ts'
import { attemptRequest, backOff, requestFailed } from './retry.ts'

/** One thing that a server must do. */
interface Requirement {
  name: string
  /** `untested`: a requirement before it was violated. */
  state: 'met' | 'violated' | 'untested'
  /** What the server did instead; empty if it is met. */
  why: string
}

/** How a server wants an ETag to be sent in a condition. */
export type Quoting = 'quoted' | 'unquoted'

interface Probed {
  requirements: Requirement[]
  /** Null: no way to send one was understood. */
  quoting: Quoting | null
}

export function quote(etag: string, quoting: Quoting): string {
  return quoting === 'quoted' ? `"${etag}"` : etag
}

const NAMES = {
  create: 'If-None-Match: * refuses to replace an object',
  bogus: 'If-Match refuses a wrong ETag',
  match: 'If-Match accepts the right ETag',
  stale: 'If-Match refuses an ETag of the version before',
  missing: 'If-Match refuses an object that is not there',
  list: 'a new object is listed at once',
  range: 'a range of an object is what was asked for',
  gone: 'a deleted object is gone at once',
} as const

/** @throws IO_FAILED when the server cannot be asked */
export async function probe(client: ObjectClient): Promise<Probed> {
  const prefix = `probe/${randomBytes(16).toString('hex')}`
  const key = `${prefix}-a`
  const states = new Map<keyof typeof NAMES, string>()
  let quoting: Quoting | null = null
  const [first, second, third] = [1, 2, 3].map((n) => Buffer.from(`holdfast probe ${n} ${prefix}`))

  async function content(at: string): Promise<Uint8Array | null> {
    const got = await attemptRequest(client.location, 'reading back', () => client.get(at))
    return got.state === 'found' ? got.bytes : null
  }

  async function etag(): Promise<string | null> {
    const got = await attemptRequest(client.location, 'reading back', () => client.get(key))
    return got.state === 'found' ? got.etag : null
  }

  /** Whether a conditional write left what was there; the reason in words if not. */
  async function refuses(at: string, options: PutOptions, before: Uint8Array | null): Promise<string> {
    const code = await tryPut(client, at, third!, options)
    const now = await content(at)
    const same = now === null || before === null ? now === before : Buffer.compare(now, before) === 0
    if (same && code !== 200) return ''
    return same ? 'it answered 200 and stored nothing' : `it answered ${code} and stored the object`
  }

  /** Whether a conditional write is carried out. */
  async function accepts(options: PutOptions, bytes: Uint8Array): Promise<string> {
    const code = await tryPut(client, key, bytes, options)
    const now = await content(key)
    return now !== null && Buffer.compare(now, bytes) === 0 ? '' : `it answered ${code} and did not store the object`
  }

  try {
    const created = await tryPut(client, key, first!, { ifAbsent: true })
    if ((await content(key)) === null) states.set('create', `it answered ${created} to the first creation`)
    else states.set('create', await refuses(key, { ifAbsent: true }, first!))
    if (states.get('create') === '') states.set('bogus', await refuses(key, { ifMatch: `"${'0'.repeat(32)}"` }, first!))
    if (states.get('bogus') === '') {
      const old = (await etag()) ?? ''
      for (const form of ['quoted', 'unquoted'] as const) {
        if (quoting !== null) break
        states.set('match', await accepts({ ifMatch: quote(old, form) }, second!))
        if (states.get('match') === '') quoting = form
      }
      if (quoting !== null) {
        states.set('stale', await refuses(key, { ifMatch: quote(old, quoting) }, second!))
        states.set('missing', await refuses(`${prefix}-b`, { ifMatch: quote(old, quoting) }, null))
      }
    }
    const listed = await attemptRequest(client.location, 'listing', () => client.list(prefix))
    states.set('list', listed.objects.some((object) => object.key === key) ? '' : 'it was not listed')
    const part = await attemptRequest(client.location, 'reading', () =>
      client.get(key, { range: { start: 2, end: 9 } }),
    )
    const got = part.state === 'found' ? Buffer.from(part.bytes).toString() : ''
    states.set('range', got === 'ldfast ' ? '' : `it gave ${JSON.stringify(got.slice(0, 20))}`)
  } finally {
    for (const at of [key, `${prefix}-b`]) {
      await attemptRequest(client.location, 'deleting', () => client.delete(at)).catch(() => undefined)
    }
  }
  states.set('gone', (await content(key)) === null ? '' : 'it was still there')
  const requirements = Object.entries(NAMES).map(([id, name]): Requirement => {
    const why = states.get(id as keyof typeof NAMES)
    return { name, state: why === undefined ? 'untested' : why === '' ? 'met' : 'violated', why: why ?? '' }
  })
  return { requirements, quoting }
}

const TRIES = 5

/** The status of a conditional write. A server that is busy, or a race that it reports as such, is tried again. */
async function tryPut(client: ObjectClient, key: string, bytes: Uint8Array, options: PutOptions): Promise<number> {
  for (let tries = 1; ; tries++) {
    try {
      await client.put(key, bytes, options)
      return 200
    } catch (error) {
      if (!(error instanceof ObjectError)) throw error
      if (isConflict(error) || error.status === 404 || error.status === 400 || error.status === 501) return error.status
      if (!isRefusal(error) && tries < TRIES) await backOff(tries)
      else if (isRefusal(error) || error.status === 0) {
        throw requestFailed(error, 'asking what the server can do', client.location)
      } else return error.status
    }
  }
}

/** @throws STORAGE_UNSUPPORTED that names each condition which the server does not keep */
export function assertSupported(client: ObjectClient, { requirements }: Probed): void {
  const violated = requirements.filter(({ state }) => state === 'violated')
  if (violated.length === 0 && requirements.every(({ state }) => state === 'met')) return
  const what = violated.map(({ name, why }) => `${name} (${why})`).join('; ')
  throw new HoldfastError(
    'STORAGE_UNSUPPORTED',
    `${client.location}: the server does not do what a shared HEAD needs, so writers would lose each other's snapshots. Not kept: ${what}`,
    { details: { location: client.location, requirements } },
  )
}
