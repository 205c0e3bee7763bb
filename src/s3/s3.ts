// The public entry `holdfast/s3`: stores in buckets of S3-compatible servers. Importing it makes `s3://bucket/prefix` a
// place for a store.

import { assertOptions, type OptionTable } from '../misuse.ts'
import { type RemoteLocation, registerScheme, remoteLocation } from '../remote.ts'
import type { ObjectClient } from '../storage/object/client.ts'
import type { AwsS3Client } from './sdk-client.ts'
import type { S3Credentials } from './sign.ts'

export type { RemoteLocation } from '../remote.ts'
export type { AwsS3Client } from './sdk-client.ts'
export type { S3Credentials } from './sign.ts'

/** Where a store is, and how to get there. */
export interface S3Options {
  bucket: string
  /** The store's objects are below it: a folder of the bucket for each store. Default: the whole bucket. */
  prefix?: string | undefined
  /** Your own client of @aws-sdk/client-s3. Then the options below are its business. */
  client?: AwsS3Client | undefined
  /** A URL; default `AWS_ENDPOINT_URL_S3`, `AWS_ENDPOINT_URL`, or AWS's own for the region. */
  endpoint?: string | URL | undefined
  /** Default `AWS_REGION`, `AWS_DEFAULT_REGION`, or us-east-1. */
  region?: string | undefined
  /**
   * Keys, or a function that gives them for each request. Default `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`,
   * `AWS_SESSION_TOKEN`.
   */
  credentials?: S3Credentials | (() => S3Credentials | Promise<S3Credentials>) | undefined
  /** The bucket is in the path instead of the host's name. Default: with an endpoint other than AWS's. */
  pathStyle?: boolean | undefined
  /** A request ends when no byte came for so long, in ms; default 30,000. Then it is tried again. */
  requestIdleMs?: number | undefined
}

const S3_OPTIONS: OptionTable<S3Options> = {
  bucket: 'any',
  prefix: 'any',
  client: 'any',
  endpoint: 'any',
  region: 'any',
  credentials: 'any',
  pathStyle: 'boolean',
  requestIdleMs: 'ms',
}

const REQUEST_IDLE_MS = 30_000

/**
 * A place for a store, to be given to `openStore` and to whatever takes a store's path.
 *
 * @throws TypeError
 */
export function s3(options: S3Options): RemoteLocation {
  assertOptions('s3', options, S3_OPTIONS)
  const bucket = bucketOf(options.bucket)
  const prefix = prefixOf(options.prefix ?? '')
  const location = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`
  const load = clientOf(options, bucket, prefix)
  return remoteLocation(location, async ({ readOnly }) => {
    const [{ objectStorage }, client] = await Promise.all([import('../storage/object/storage.ts'), load()])
    return objectStorage({ client, readOnly })
  })
}

/** What `checkStorage` found. */
export interface StorageReport {
  location: string
  /** The server does all that a store needs. */
  ok: boolean
  /** `untested`: one before it was violated, or could not be asked. `why` says what the server did instead. */
  requirements: readonly { name: string; state: 'met' | 'violated' | 'untested'; why: string }[]
}

/**
 * Asks a server whether it does what a store needs, with objects of its own below `probe/`, which it deletes. Each
 * process does so before its first write.
 *
 * @throws IO_FAILED when the server cannot be asked, TypeError
 */
export async function checkStorage(options: S3Options): Promise<StorageReport> {
  assertOptions('checkStorage', options, S3_OPTIONS)
  const load = clientOf(options, bucketOf(options.bucket), prefixOf(options.prefix ?? ''))
  const [{ probe }, client] = await Promise.all([import('../storage/object/probe.ts'), load()])
  const { requirements } = await probe(client)
  return { location: client.location, ok: requirements.every(({ state }) => state === 'met'), requirements }
}

/** Checks the options at once, and makes the client when it is needed. */
function clientOf(options: S3Options, bucket: string, prefix: string): () => Promise<ObjectClient> {
  const { client } = options
  if (client !== undefined) {
    for (const name of ['endpoint', 'region', 'credentials', 'pathStyle', 'requestIdleMs'] as const) {
      if (options[name] !== undefined) throw new TypeError(`s3: with a client, ${name} is the client's business`)
    }
    if (typeof client !== 'object' || client === null || typeof client.send !== 'function') {
      throw new TypeError('s3: client is a client of @aws-sdk/client-s3')
    }
    return async () => (await import('./sdk-client.ts')).sdkClient(client, bucket, prefix)
  }
  const { env } = process
  const given = options.endpoint ?? env.AWS_ENDPOINT_URL_S3 ?? env.AWS_ENDPOINT_URL
  const region = options.region ?? env.AWS_REGION ?? env.AWS_DEFAULT_REGION ?? 'us-east-1'
  const endpoint = endpointOf(given ?? `https://s3.${region}.amazonaws.com`)
  const credentials = credentialsOf(options.credentials)
  // A name with dots is not in the certificate of a host below AWS's.
  const pathStyle = options.pathStyle ?? (given !== undefined || bucket.includes('.'))
  const idleMs = options.requestIdleMs ?? REQUEST_IDLE_MS
  return async () => {
    const { httpClient } = await import('./http-client.ts')
    return httpClient({ endpoint, region, bucket, prefix, credentials, pathStyle, idleMs })
  }
}

registerScheme('s3:', (url) => {
  const { hostname, pathname, search, hash, username } = new URL(url)
  if (search !== '' || hash !== '' || username !== '') {
    throw new TypeError(`s3: the URL of ${hostname} has more than a bucket and a prefix; use s3({ … })`)
  }
  return s3({ bucket: hostname, prefix: decodeURIComponent(pathname) })
})

function bucketOf(bucket: unknown): string {
  if (typeof bucket === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$/.test(bucket)) return bucket
  throw new TypeError(`s3: bucket is the name of a bucket, got ${JSON.stringify(bucket)}`)
}

function prefixOf(prefix: unknown): string {
  const trimmed = typeof prefix === 'string' ? prefix.replace(/^\/+|\/+$/g, '') : null
  const parts = trimmed === '' ? [] : trimmed?.split('/')
  if (parts?.every((part) => part !== '' && part !== '.' && part !== '..' && !/\p{Cc}|\p{Cs}/u.test(part)))
    return trimmed!
  throw new TypeError(`s3: prefix is a folder of the bucket, as a/b, got ${JSON.stringify(prefix)}`)
}

function endpointOf(endpoint: string | URL): URL {
  try {
    const url = new URL(endpoint)
    if (/^https?:$/.test(url.protocol) && url.username === '' && url.search === '') return url
  } catch {
    // Told below.
  }
  throw new TypeError(`s3: endpoint is an http: or https: URL, got ${String(endpoint)}`)
}

function credentialsOf(credentials: S3Options['credentials']): () => Promise<S3Credentials> {
  if (typeof credentials === 'function') return async () => assertCredentials(await credentials())
  if (credentials !== undefined) {
    const checked = assertCredentials(credentials)
    return async () => checked
  }
  return async () => {
    // Read each time: whoever refreshes them sets them anew.
    const { AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN } = process.env
    if (AWS_ACCESS_KEY_ID === undefined || AWS_SECRET_ACCESS_KEY === undefined) {
      throw new TypeError(
        's3: no credentials: give s3({ credentials }), or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give a client of ' +
          '@aws-sdk/client-s3, which finds them in all the usual places',
      )
    }
    return { accessKeyId: AWS_ACCESS_KEY_ID, secretAccessKey: AWS_SECRET_ACCESS_KEY, sessionToken: AWS_SESSION_TOKEN }
  }
}

function assertCredentials(credentials: S3Credentials): S3Credentials {
  const { accessKeyId, secretAccessKey } = credentials ?? {}
  if (typeof accessKeyId === 'string' && typeof secretAccessKey === 'string') return credentials
  throw new TypeError('s3: credentials are { accessKeyId, secretAccessKey, sessionToken? }')
}
