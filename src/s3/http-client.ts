// A small client for S3-compatible servers on Node's own HTTP: one attempt of each request, whole bodies, connections
// kept open.

import { createHash, webcrypto } from 'node:crypto'
import * as http from 'node:http'
import * as https from 'node:https'
import { clock } from '../clock.ts'
import { type Got, type Into, type Listed, type ObjectClient, ObjectError } from '../storage/object/client.ts'
import { encodePart, type S3Credentials, sha256, sign } from './sign.ts'

interface HttpClientOptions {
  /** With the path below which the bucket is, if any. */
  endpoint: URL
  region: string
  bucket: string
  /** Without a slash at either end; may be empty. */
  prefix: string
  credentials: () => Promise<S3Credentials>
  /** The bucket is in the path, not in the host's name. */
  pathStyle: boolean
  /** No byte for so long ends a request. */
  idleMs: number
}

interface Request {
  method: string
  /** Below the prefix; null: the bucket. */
  key: string | null
  query?: (readonly [string, string])[]
  headers?: Record<string, string>
  body?: Uint8Array
  /** The body is one of several parts of an object. */
  isPart?: boolean
  /** For the body of an answer that has the range that was asked for, of so many bytes. */
  into?: { length: number; take: Into } | undefined
}

interface Answer {
  status: number
  headers: http.IncomingHttpHeaders
  /** Empty where it was given to `into`. */
  body: Buffer
  isGiven: boolean
}

/** A millisecond or so of hashing. */
const HASHED_HERE_BYTES_MAX = 256 * 1024
/** Connections to one server that are kept open; more are opened when they are needed. */
const SOCKETS_FREE_MAX = 32

export function httpClient(options: HttpClientOptions): ObjectClient {
  const { endpoint, bucket, prefix, region } = options
  const isSecure = endpoint.protocol === 'https:'
  const agent = isSecure
    ? new https.Agent({ keepAlive: true, maxFreeSockets: SOCKETS_FREE_MAX })
    : new http.Agent({ keepAlive: true, maxFreeSockets: SOCKETS_FREE_MAX })
  const host = options.pathStyle ? endpoint.host : `${bucket}.${endpoint.host}`
  const base = `${endpoint.pathname.replace(/\/$/, '')}${options.pathStyle ? `/${encodePart(bucket)}` : ''}`
  const below = prefix === '' ? '' : `${prefix}/`

  function pathOf(key: string | null): string {
    if (key === null) return base === '' ? '/' : base
    return `${base}/${(below + key).split('/').map(encodePart).join('/')}`
  }

  async function send({ method, key, query = [], headers = {}, body, isPart = false, into }: Request): Promise<Answer> {
    const { payload, sums } = await sumsOf(body, isPart)
    const path = pathOf(key)
    const signed = sign(
      { method, host, path, query, headers: { ...headers, ...sums }, payload },
      await options.credentials(),
      region,
      clock.now(),
    )
    const answer = await exchange(
      method,
      signed.query === '' ? path : `${path}?${signed.query}`,
      signed.headers,
      body,
      into,
    )
    if (answer.status >= 200 && answer.status < 300) return answer
    const text = answer.body.toString('utf8', 0, 4_096)
    throw new ObjectError(
      element(text, 'Message') ?? '',
      answer.status,
      element(text, 'Code') ?? http.STATUS_CODES[answer.status] ?? '',
    )
  }

  function exchange(
    method: string,
    path: string,
    headers: Record<string, string>,
    body: Uint8Array | undefined,
    into: Request['into'],
  ): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const failed = (cause: Error): void => {
        const { code } = cause as NodeJS.ErrnoException
        reject(new ObjectError(cause.message, 0, code ?? 'NoAnswer', cause))
      }
      const request = (isSecure ? https : http).request(
        {
          agent,
          method,
          path,
          headers,
          timeout: options.idleMs,
          host: options.pathStyle ? endpoint.hostname : `${bucket}.${endpoint.hostname}`,
          port: endpoint.port,
        },
        (response) => {
          const expected = response.headers['content-length']
          const take = response.statusCode === 206 && Number(expected) === into?.length ? into.take : null
          const parts: Buffer[] = []
          let length = 0
          response.on('data', (part: Buffer) => {
            // Node gives no more than was announced.
            if (take === null) parts.push(part)
            else take(part, length)
            length += part.length
          })
          response.on('error', failed)
          response.on('end', () => {
            if (method !== 'HEAD' && expected !== undefined && length !== Number(expected)) {
              failed(new Error(`the answer has ${length} bytes of ${expected}`))
              return
            }
            const body = parts.length === 1 ? parts[0]! : Buffer.concat(parts)
            resolve({ status: response.statusCode!, headers: response.headers, body, isGiven: take !== null })
          })
        },
      )
      request.on('timeout', () => request.destroy(new Error(`no answer for ${options.idleMs} ms`)))
      request.on('error', failed)
      request.end(body)
    })
  }

  /** An answer of which a 404 for the object, and not for the bucket, is no error. */
  async function unlessMissing(sending: Promise<Answer>): Promise<Answer | null> {
    try {
      return await sending
    } catch (error) {
      if (error instanceof ObjectError && error.status === 404 && error.code !== 'NoSuchBucket') return null
      throw error
    }
  }

  return {
    location: `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`,
    identity: `${endpoint.href} ${bucket}`,
    address: `${endpoint.href} ${bucket} ${prefix}`,
    async get(key, { range, ifNoneMatch, into } = {}): Promise<Got> {
      const headers: Record<string, string> = {}
      if (range !== undefined) headers.range = `bytes=${range.start}-${range.end - 1}`
      if (ifNoneMatch !== undefined) headers['if-none-match'] = ifNoneMatch
      try {
        const given = range && into && { length: range.end - range.start, take: into }
        const answer = await unlessMissing(send({ method: 'GET', key, headers, into: given }))
        if (answer === null) return { state: 'missing' }
        const etag = unquoted(answer.headers.etag)
        if (range === undefined || answer.status === 206) {
          return { state: 'found', bytes: answer.body, etag, isGiven: answer.isGiven }
        }
        // The server gave all of it.
        return { state: 'found', bytes: answer.body.subarray(range.start, range.end), etag }
      } catch (error) {
        if (!(error instanceof ObjectError)) throw error
        if (error.status === 304) return { state: 'unmodified' }
        // It is shorter than the range begins.
        if (error.status === 416) return { state: 'found', bytes: new Uint8Array(0), etag: null }
        throw error
      }
    },
    async put(key, body, { ifMatch, ifAbsent } = {}) {
      const headers: Record<string, string> = {}
      if (ifMatch !== undefined) headers['if-match'] = ifMatch
      if (ifAbsent === true) headers['if-none-match'] = '*'
      const answer = await send({ method: 'PUT', key, headers, body })
      return { etag: unquoted(answer.headers.etag) }
    },
    async head(key) {
      const answer = await unlessMissing(send({ method: 'HEAD', key }))
      return answer === null ? null : { size: Number(answer.headers['content-length']) }
    },
    async list(under, next): Promise<Listed> {
      const query: [string, string][] = [
        ['list-type', '2'],
        ['prefix', below + under],
        ['encoding-type', 'url'],
      ]
      if (next !== undefined) query.push(['continuation-token', next])
      const { body } = await send({ method: 'GET', key: null, query })
      const text = body.toString()
      return {
        objects: elements(text, 'Contents').map((object) => ({
          key: decodeURIComponent((element(object, 'Key') ?? '').replaceAll('+', ' ')).slice(below.length),
          size: Number(element(object, 'Size')),
          lastModifiedMs: Date.parse(element(object, 'LastModified') ?? ''),
        })),
        next: element(text, 'IsTruncated') === 'true' ? (element(text, 'NextContinuationToken') ?? null) : null,
      }
    },
    async delete(key) {
      await unlessMissing(send({ method: 'DELETE', key }))
    },
    async startUpload(key) {
      const { body } = await send({ method: 'POST', key, query: [['uploads', '']] })
      return element(body.toString(), 'UploadId') ?? ''
    },
    async uploadPart(key, upload, number, body) {
      const query: [string, string][] = [
        ['partNumber', String(number)],
        ['uploadId', upload],
      ]
      const answer = await send({ method: 'PUT', key, query, body, isPart: true })
      return { etag: unquoted(answer.headers.etag) ?? '' }
    },
    async completeUpload(key, upload, parts) {
      const list = parts.map(
        ({ number, etag }) => `<Part><PartNumber>${number}</PartNumber><ETag>"${etag}"</ETag></Part>`,
      )
      const body = Buffer.from(`<CompleteMultipartUpload>${list.join('')}</CompleteMultipartUpload>`)
      const answer = await send({ method: 'POST', key, query: [['uploadId', upload]], body })
      // An error may come after the status was sent.
      const text = answer.body.toString()
      if (/<Error>/.test(text)) throw new ObjectError(element(text, 'Message') ?? '', 500, element(text, 'Code') ?? '')
    },
    async abortUpload(key, upload) {
      await unlessMissing(send({ method: 'DELETE', key, query: [['uploadId', upload]] }))
    },
    async listUploads(under) {
      const { body } = await send({
        method: 'GET',
        key: null,
        query: [
          ['uploads', ''],
          ['prefix', below + under],
        ],
      })
      return elements(body.toString(), 'Upload').map((upload) => ({
        key: unescaped(element(upload, 'Key') ?? '').slice(below.length),
        upload: element(upload, 'UploadId') ?? '',
        startedMs: Date.parse(element(upload, 'Initiated') ?? ''),
      }))
    },
  }
}

/**
 * What the server checks a body by: a signed SHA-256. A large body is hashed in a thread, because 16 MiB would block
 * the event loop for 40 ms. An object that is put whole gets a header for its sum, too, which AWS wants where objects
 * are locked.
 */
async function sumsOf(
  body: Uint8Array | undefined,
  isPart: boolean,
): Promise<{ payload: string; sums: Record<string, string> }> {
  if (body === undefined) return { payload: sha256(''), sums: {} }
  const length = { 'content-length': String(body.length) }
  if (body.length <= HASHED_HERE_BYTES_MAX) {
    const md5 = createHash('md5').update(body).digest('base64')
    return { payload: sha256(body), sums: { ...length, 'content-md5': md5 } }
  }
  const digest = Buffer.from(await webcrypto.subtle.digest('SHA-256', body))
  const own = isPart ? {} : { 'x-amz-checksum-sha256': digest.toString('base64') }
  return { payload: digest.toString('hex'), sums: { ...length, ...own } }
}

function unquoted(etag: string | undefined): string | null {
  return etag === undefined || etag === '' ? null : etag.replace(/^W\//, '').replace(/^"|"$/g, '')
}

/**
 * The text of the first element of this name. The answers are flat, and nothing in them that is used needs more of XML.
 */
function element(xml: string, name: string): string | undefined {
  const found = new RegExp(`<${name}(?:\\s[^>]*)?>([\\s\\S]*?)</${name}>`).exec(xml)?.[1]
  return found === undefined ? undefined : unescaped(found)
}

function elements(xml: string, name: string): string[] {
  return [...xml.matchAll(new RegExp(`<${name}>([\\s\\S]*?)</${name}>`, 'g'))].map(([, inside]) => inside!)
}

const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

function unescaped(text: string): string {
  return text.replace(/&(amp|lt|gt|quot|apos);/g, (_, name: string) => ENTITIES[name]!)
}
