// The user's own client of @aws-sdk/client-s3: it brings credentials, endpoints and proxies. Typed structurally, so
// that the package is needed only by who has it.

import { type Got, type Into, type Listed, type ObjectClient, ObjectError } from '../storage/object/client.ts'

/** A client of @aws-sdk/client-s3: `new S3(…)`, or `new S3Client(…)` where that package can be imported. */
export interface AwsS3Client {
  send(command: never, ...rest: never[]): Promise<unknown>
}

type Call = (input: Record<string, unknown>) => Promise<Record<string, unknown>>

const CALLS = [
  'GetObject',
  'PutObject',
  'HeadObject',
  'ListObjectsV2',
  'DeleteObject',
  'CreateMultipartUpload',
  'UploadPart',
  'CompleteMultipartUpload',
  'AbortMultipartUpload',
  'ListMultipartUploads',
] as const

/**
 * How each operation is called. An aggregated client has a method for each; any other takes commands, which are its
 * package's.
 */
async function callsOf(client: AwsS3Client): Promise<(name: (typeof CALLS)[number]) => Call> {
  const methods = client as unknown as Record<string, Call>
  if (typeof methods.getObject === 'function') {
    return (name) => (input) => methods[name[0]!.toLowerCase() + name.slice(1)]!(input)
  }
  const commands = await importCommands()
  return (name) => {
    const Command = commands[`${name}Command`]!
    return async (input) => (await client.send(new Command(input) as never)) as Record<string, unknown>
  }
}

async function importCommands(): Promise<Record<string, new (input: object) => unknown>> {
  // Not a literal, so that a bundler does not look for a package that is optional.
  const name = ['@aws-sdk', 'client-s3'].join('/')
  try {
    return (await import(name)) as Record<string, new (input: object) => unknown>
  } catch (cause) {
    throw new TypeError(
      's3: the client takes commands of @aws-sdk/client-s3, and that package cannot be imported from here: give new S3(…) instead of ' +
        'new S3Client(…)',
      { cause },
    )
  }
}

export function sdkClient(client: AwsS3Client, bucket: string, prefix: string): ObjectClient {
  const below = prefix === '' ? '' : `${prefix}/`
  let calls: Promise<(name: (typeof CALLS)[number]) => Call> | null = null

  async function call(
    name: (typeof CALLS)[number],
    key: string | null,
    input: Record<string, unknown> = {},
  ): Promise<Record<string, unknown>> {
    calls ??= callsOf(client)
    const at = key === null ? {} : { Key: below + key }
    const run = (await calls)(name)
    try {
      return await run({ Bucket: bucket, ...at, ...input })
    } catch (error) {
      throw toObjectError(error)
    }
  }

  return {
    location: `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`,
    identity: `sdk ${identityOf(client)} ${bucket}`,
    // Its endpoint may depend on the request.
    address: `sdk ${bucket} ${prefix}`,
    async get(key, { range, ifNoneMatch, into } = {}): Promise<Got> {
      try {
        const answer = await call('GetObject', key, {
          ...(range === undefined ? {} : { Range: `bytes=${range.start}-${range.end - 1}` }),
          ...(ifNoneMatch === undefined ? {} : { IfNoneMatch: ifNoneMatch }),
        })
        const etag = etagOf(answer)
        const isGiven = range !== undefined && into !== undefined && (await give(answer, range.end - range.start, into))
        return { state: 'found', bytes: isGiven ? new Uint8Array(0) : await bodyOf(answer), etag, isGiven }
      } catch (error) {
        if (!(error instanceof ObjectError)) throw error
        if (error.status === 304) return { state: 'unmodified' }
        if (error.status === 416) return { state: 'found', bytes: new Uint8Array(0), etag: null }
        if (isMissing(error)) return { state: 'missing' }
        throw error
      }
    },
    async put(key, bytes, { ifMatch, ifAbsent } = {}) {
      const answer = await call('PutObject', key, {
        Body: bytes,
        ...(ifMatch === undefined ? {} : { IfMatch: ifMatch }),
        ...(ifAbsent === true ? { IfNoneMatch: '*' } : {}),
      })
      return { etag: etagOf(answer) }
    },
    async head(key) {
      const answer = await call('HeadObject', key).catch(nullIfMissing)
      return answer === null ? null : { size: Number(answer.ContentLength) }
    },
    async list(under, next): Promise<Listed> {
      const answer = await call('ListObjectsV2', null, {
        Prefix: below + under,
        ...(next === undefined ? {} : { ContinuationToken: next }),
      })
      const contents = (answer.Contents ?? []) as { Key: string; Size: number; LastModified: Date }[]
      return {
        objects: contents.map(({ Key, Size, LastModified }) => ({
          key: Key.slice(below.length),
          size: Size,
          lastModifiedMs: LastModified.getTime(),
        })),
        next: answer.IsTruncated === true ? (answer.NextContinuationToken as string) : null,
      }
    },
    async delete(key) {
      await call('DeleteObject', key).catch(nullIfMissing)
    },
    async startUpload(key) {
      return String((await call('CreateMultipartUpload', key)).UploadId)
    },
    async uploadPart(key, upload, number, bytes) {
      const answer = await call('UploadPart', key, { UploadId: upload, PartNumber: number, Body: bytes })
      return { etag: etagOf(answer) ?? '' }
    },
    async completeUpload(key, upload, parts) {
      const Parts = parts.map(({ number, etag }) => ({ PartNumber: number, ETag: `"${etag}"` }))
      await call('CompleteMultipartUpload', key, { UploadId: upload, MultipartUpload: { Parts } })
    },
    async abortUpload(key, upload) {
      await call('AbortMultipartUpload', key, { UploadId: upload }).catch(nullIfMissing)
    },
    async listUploads(under) {
      const answer = await call('ListMultipartUploads', null, { Prefix: below + under })
      const uploads = (answer.Uploads ?? []) as { Key: string; UploadId: string; Initiated: Date }[]
      return uploads.map(({ Key, UploadId, Initiated }) => ({
        key: Key.slice(below.length),
        upload: UploadId,
        startedMs: Initiated.getTime(),
      }))
    },
  }
}

let clients = 0
const identities = new WeakMap<object, number>()

/** What was learnt of a server counts for the client that it was learnt by. */
function identityOf(client: object): number {
  const known = identities.get(client) ?? ++clients
  identities.set(client, known)
  return known
}

/**
 * Gives a body of so many bytes to `into` as it comes. Answers false where it has another length, or cannot be had in
 * parts.
 */
async function give(answer: Record<string, unknown>, length: number, into: Into): Promise<boolean> {
  const body = answer.Body as Partial<AsyncIterable<Uint8Array>> | undefined
  if (answer.ContentLength !== length || body?.[Symbol.asyncIterator] === undefined) return false
  let at = 0
  try {
    for await (const part of body as AsyncIterable<Uint8Array>) {
      if (at + part.length > length) break
      into(part, at)
      at += part.length
    }
  } catch (cause) {
    throw new ObjectError((cause as Error).message, 0, 'BodyCutShort', cause)
  }
  if (at === length) return true
  throw new ObjectError(`the answer has ${at} bytes of ${length}, or more`, 0, 'BodyCutShort')
}

async function bodyOf(answer: Record<string, unknown>): Promise<Uint8Array> {
  const body = answer.Body as { transformToByteArray(): Promise<Uint8Array> } | undefined
  try {
    const bytes = (await body?.transformToByteArray()) ?? new Uint8Array(0)
    if (answer.ContentLength === undefined || bytes.length === answer.ContentLength) return bytes
    throw new Error(`the answer has ${bytes.length} bytes of ${String(answer.ContentLength)}`)
  } catch (cause) {
    throw new ObjectError((cause as Error).message, 0, 'BodyCutShort', cause)
  }
}

function etagOf({ ETag }: Record<string, unknown>): string | null {
  return typeof ETag === 'string' && ETag !== '' ? ETag.replace(/^W\//, '').replace(/^"|"$/g, '') : null
}

function toObjectError(error: unknown): ObjectError {
  const { name, message, $metadata } = error as Error & { $metadata?: { httpStatusCode?: number } }
  return new ObjectError(message, $metadata?.httpStatusCode ?? 0, name, error)
}

function isMissing({ status, code }: ObjectError): boolean {
  return status === 404 && code !== 'NoSuchBucket'
}

function nullIfMissing(error: unknown): null {
  if (error instanceof ObjectError && isMissing(error)) return null
  throw error
}
