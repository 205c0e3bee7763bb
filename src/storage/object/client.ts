// What the object storage asks of a client for an S3-compatible server: small enough to be served by any client, and by
// a simulation. Keys are below the store's prefix. ETags are given and taken without quotes.

/** One attempt of each operation: retries are the storage's. A client that retries by itself does no harm. */
export interface ObjectClient {
  /** For messages: `s3://bucket/prefix`. */
  readonly location: string
  /** The server and the bucket: what was learnt of a server counts for these. */
  readonly identity: string
  /** The server, the bucket and the prefix, the same in each process. */
  readonly address: string
  get(key: string, options?: GetOptions): Promise<Got>
  /** Without a condition, it replaces. `ObjectError` 412 or 409 if a condition fails. */
  put(key: string, bytes: Uint8Array, options?: PutOptions): Promise<{ etag: string | null }>
  /** Null: there is no such object. */
  head(key: string): Promise<{ size: number } | null>
  /**
   * Up to 1,000 objects whose keys begin with `prefix`, ascending by UTF-8 bytes. `next` goes on behind them; null:
   * that was all.
   */
  list(prefix: string, next?: string): Promise<Listed>
  /** An object that is not there is no error. */
  delete(key: string): Promise<void>
  startUpload(key: string): Promise<string>
  /** Numbers count from 1. */
  uploadPart(key: string, upload: string, number: number, bytes: Uint8Array): Promise<{ etag: string }>
  completeUpload(key: string, upload: string, parts: readonly { number: number; etag: string }[]): Promise<void>
  abortUpload(key: string, upload: string): Promise<void>
  /** Uploads that were neither completed nor aborted. */
  listUploads(prefix: string): Promise<{ key: string; upload: string; startedMs: number }[]>
}

export interface GetOptions {
  /** Bytes [start, end). */
  range?: { start: number; end: number }
  /** A client may give the bytes of the range to this as they come, and answer `isGiven`: so they are copied once. */
  into?: Into
  /** `unmodified` if this is the object's ETag. As it is sent: with or without quotes. */
  ifNoneMatch?: string
}

/**
 * Takes bytes of a range, `at` of its start: in order, and none twice. An answer that breaks off has given some, and
 * the next attempt begins anew with the first.
 */
export type Into = (bytes: Uint8Array, at: number) => void

export interface PutOptions {
  /** As it is sent: with or without quotes. */
  ifMatch?: string
  /** Only if there is no object of this name. */
  ifAbsent?: boolean
}

export type Got =
  /** `isGiven`: `into` has all of the range, and `bytes` is empty. */
  | { state: 'found'; bytes: Uint8Array; etag: string | null; isGiven?: boolean }
  | { state: 'missing' }
  | { state: 'unmodified' }

export interface Listed {
  objects: ListedObject[]
  next: string | null
}

export interface ListedObject {
  key: string
  size: number
  lastModifiedMs: number
}

/**
 * A request that did not succeed. `status` is HTTP's; 0: there was no answer, so it may have been carried out or not.
 */
export class ObjectError extends Error {
  readonly status: number
  /** As the server says it: `NoSuchBucket`. */
  readonly code: string
  constructor(message: string, status: number, code: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.status = status
    this.code = code
  }
}

/** The request was refused for what it is: neither was it carried out, nor will it be when it is sent again. */
export function isRefusal(error: unknown): boolean {
  if (!(error instanceof ObjectError)) return false
  return (
    (error.status >= 400 && error.status < 500 && ![408, 409, 412, 425, 429].includes(error.status)) ||
    error.status === 501
  )
}

/** A condition of the request did not hold, or a request that ran beside it won. */
export function isConflict(error: unknown): boolean {
  return error instanceof ObjectError && (error.status === 412 || error.status === 409)
}
