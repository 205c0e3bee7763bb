// An object store in memory, behind the client interface of the object storage. It does what a good server does, at
// once; or, with a scheduler, in an order drawn by a seed, and with faults:
//
//   reordering       requests that are under way are carried out in any order
//   lost requests    no answer, and nothing was done
//   lost replies     no answer, and it was done
//   late requests    no answer, and it is done later, at any time
//   refusals         500 or 503, done or not; 409 for a condition
//   stale reads      HEAD is one of the versions before
//   stalls           a client's requests and replies wait for long
//
// And a server that breaks a promise, for the tests of what notices it: `ignores`.

import { createHash } from 'node:crypto'
import {
  type GetOptions,
  type Got,
  type Listed,
  type ObjectClient,
  ObjectError,
  type PutOptions,
} from '../../src/storage/object/client.ts'

export interface StoredObject {
  bytes: Uint8Array
  etag: string
  lastModifiedMs: number
}

/** Of a range, at a time. */
const GIVEN_BYTES = 1_021

type Ignored = 'ifAbsent' | 'ifMatch' | 'quotes' | 'delete' | 'list'

/** Carries a request out, now or later, or not at all. */
export type Carry = <T>(request: { kind: string; key: string; client: string }, act: () => T) => Promise<T>

export interface SimulatedObjects {
  objects: Map<string, StoredObject>
  /** Every version of HEAD.json, oldest first. */
  heads: Uint8Array[]
  /** Requests that were carried out, as `put packs/…`. */
  log: string[]
  ignores: Set<Ignored>
  client(name?: string): ObjectClient
  /** Called after each change. */
  onChange: (() => void) | null
  /** Called before an object that is there is deleted. */
  onDelete: ((key: string) => void) | null
  /** Probability of an old version for a read of HEAD. */
  stale: (() => number) | null
}

interface SimulatedOptions {
  carry?: Carry
  nowMs?: () => number
}

let simulations = 0

const atOnce: Carry = async (_request, act) => act()

export function simulatedObjects({ carry = atOnce, nowMs = Date.now }: SimulatedOptions = {}): SimulatedObjects {
  const objects = new Map<string, StoredObject>()
  const uploads = new Map<string, { key: string; parts: Map<number, Uint8Array>; startedMs: number }>()
  const heads: Uint8Array[] = []
  const log: string[] = []
  const ignores = new Set<Ignored>()
  const identity = `simulated ${++simulations}`
  let uploadNumber = 0
  const simulated: SimulatedObjects = {
    objects,
    heads,
    log,
    ignores,
    client,
    onChange: null,
    onDelete: null,
    stale: null,
  }

  function conditionHolds(key: string, { ifMatch, ifAbsent }: PutOptions): boolean {
    const there = objects.get(key)
    if (ifAbsent === true && there !== undefined && !ignores.has('ifAbsent')) return false
    if (ifMatch === undefined || ignores.has('ifMatch')) return true
    return there !== undefined && matches(ifMatch, there.etag)
  }

  function matches(sent: string, etag: string): boolean {
    return sent === (ignores.has('quotes') ? etag : `"${etag}"`)
  }

  function store(key: string, bytes: Uint8Array): StoredObject {
    // The ETag of equal bytes is equal, as with MD5.
    const etag = createHash('md5').update(bytes).digest('hex')
    const object = { bytes, etag, lastModifiedMs: Math.floor(nowMs() / 1000) * 1000 }
    objects.set(key, object)
    if (key === 'HEAD.json') heads.push(bytes)
    simulated.onChange?.()
    return object
  }

  function client(name = 'client'): ObjectClient {
    function run<T>(kind: string, key: string, act: () => T): Promise<T> {
      return carry({ kind, key, client: name }, () => {
        log.push(`${kind} ${key}`)
        return act()
      })
    }
    return {
      location: 's3://bucket/store',
      identity,
      address: identity,
      get: (key: string, options: GetOptions = {}) =>
        run('get', key, (): Got => {
          let there = objects.get(key)
          if (key === 'HEAD.json' && there !== undefined && simulated.stale !== null) {
            const bytes = heads[Math.max(0, heads.length - 1 - simulated.stale())]!
            there = { ...there, bytes, etag: createHash('md5').update(bytes).digest('hex') }
          }
          if (there === undefined) return { state: 'missing' }
          if (options.ifNoneMatch !== undefined && matches(options.ifNoneMatch, there.etag))
            return { state: 'unmodified' }
          const { start, end } = options.range ?? { start: 0, end: there.bytes.length }
          const bytes = new Uint8Array(there.bytes.subarray(start, end))
          if (options.into === undefined || bytes.length !== end - start) {
            return { state: 'found', bytes, etag: there.etag }
          }
          for (let at = 0; at < bytes.length; at += GIVEN_BYTES) {
            options.into(bytes.subarray(at, at + GIVEN_BYTES), at)
          }
          return { state: 'found', bytes: new Uint8Array(0), etag: there.etag, isGiven: true }
        }),
      put: (key: string, bytes: Uint8Array, options: PutOptions = {}) => {
        const copy = new Uint8Array(bytes)
        return run('put', key, () => {
          if (!conditionHolds(key, options)) throw new ObjectError('', 412, 'PreconditionFailed')
          return { etag: store(key, copy).etag as string | null }
        })
      },
      head: (key) =>
        run('head', key, () => {
          const there = objects.get(key)
          return there === undefined ? null : { size: there.bytes.length }
        }),
      list: (prefix: string, next?: string) =>
        run('list', prefix, (): Listed => {
          const keys = [...objects.keys()].filter((key) => key.startsWith(prefix) && (next === undefined || key > next))
          const page = ignores.has('list') ? [] : keys.sort().slice(0, 1000)
          return {
            objects: page.map((key) => {
              const { bytes, lastModifiedMs } = objects.get(key)!
              return { key, size: bytes.length, lastModifiedMs }
            }),
            next: keys.length > 1000 ? page.at(-1)! : null,
          }
        }),
      delete: (key) =>
        run('delete', key, () => {
          if (objects.has(key)) simulated.onDelete?.(key)
          if (!ignores.has('delete')) objects.delete(key)
          simulated.onChange?.()
        }),
      startUpload: (key) =>
        run('startUpload', key, () => {
          uploadNumber += 1
          uploads.set(String(uploadNumber), { key, parts: new Map(), startedMs: Math.floor(nowMs() / 1000) * 1000 })
          return String(uploadNumber)
        }),
      uploadPart: (key, upload, number, bytes) => {
        const copy = new Uint8Array(bytes)
        return run('uploadPart', key, () => {
          const there = uploads.get(upload)
          if (there === undefined) throw new ObjectError('', 404, 'NoSuchUpload')
          there.parts.set(number, copy)
          return { etag: String(number) }
        })
      },
      completeUpload: (key, upload, parts) =>
        run('completeUpload', key, () => {
          const there = uploads.get(upload)
          if (there === undefined) throw new ObjectError('', 404, 'NoSuchUpload')
          uploads.delete(upload)
          store(key, new Uint8Array(Buffer.concat(parts.map(({ number }) => there.parts.get(number)!))))
        }),
      abortUpload: (key, upload) =>
        run('abortUpload', key, () => {
          uploads.delete(upload)
        }),
      listUploads: (prefix) =>
        run('listUploads', prefix, () =>
          [...uploads].flatMap(([upload, { key, startedMs }]) =>
            key.startsWith(prefix) ? [{ key, upload, startedMs }] : [],
          ),
        ),
    }
  }

  return simulated
}
