// An S3-compatible server over HTTP for tests with processes of their own: a simulated object store behind as much of
// the protocol as the light client speaks. Signatures are not checked; requests of another key than `ACCESS_KEY` are
// refused.

import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { onTestFinished } from 'vitest'
import { type Got, ObjectError } from '../../src/storage/object/client.ts'
import { type SimulatedObjects, simulatedObjects } from './simulated-objects.ts'

const ACCESS_KEY = 'testaccess'

export interface HttpObjects extends SimulatedObjects {
  endpoint: string
  /** What a process needs in its environment. */
  env: Record<string, string>
  /** Answers all requests with this status while it is not null. */
  failing: number | null
  /** Called before each request; a promise delays it. */
  before: ((method: string, key: string) => Promise<void> | void) | null
}

/** Ends with the test. Keys of objects have the prefix, and not the bucket. */
export async function httpObjects(): Promise<HttpObjects> {
  const objects = Object.assign(simulatedObjects(), {
    endpoint: '',
    env: {} as Record<string, string>,
    failing: null as number | null,
    before: null as HttpObjects['before'],
  })
  const client = objects.client('http')

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const parts: Buffer[] = []
    for await (const part of request) parts.push(part as Buffer)
    const body = Buffer.concat(parts)
    const { pathname, searchParams: query } = new URL(request.url!, 'http://server')
    const [, , ...below] = pathname.split('/')
    const key = below.map(decodeURIComponent).join('/')
    await objects.before?.(request.method!, key)
    const { authorization = '' } = request.headers
    if (!authorization.includes(`Credential=${ACCESS_KEY}/`)) throw new ObjectError('', 403, 'InvalidAccessKeyId')
    if (objects.failing !== null) throw new ObjectError('', objects.failing, 'Failing')
    const upload = query.get('uploadId')
    switch (`${request.method}${key === '' ? ' bucket' : ''}`) {
      case 'GET':
        return answer(response, await client.get(key, conditions(request)), request.headers.range !== undefined)
      case 'GET bucket':
        return void response.end(query.has('uploads') ? await uploads(query) : await listed(query))
      case 'HEAD': {
        const there = await client.head(key)
        response.statusCode = there === null ? 404 : 200
        if (there !== null) response.setHeader('content-length', there.size)
        return void response.end()
      }
      case 'PUT': {
        const { etag } =
          upload === null
            ? await client.put(key, body, putConditions(request))
            : await client.uploadPart(key, upload, Number(query.get('partNumber')), body)
        return void response.setHeader('etag', `"${etag}"`).end()
      }
      case 'POST':
        if (upload === null) return void response.end(`<X><UploadId>${await client.startUpload(key)}</UploadId></X>`)
        await client.completeUpload(
          key,
          upload,
          [...body.toString().matchAll(/<PartNumber>(\d+)/g)].map(([, number]) => ({
            number: Number(number),
            etag: '',
          })),
        )
        return void response.end('<X></X>')
      case 'DELETE':
        if (upload === null) await client.delete(key)
        else await client.abortUpload(key, upload)
        response.statusCode = 204
        return void response.end()
      default:
        throw new ObjectError('', 405, 'MethodNotAllowed')
    }
  }

  async function listed(query: URLSearchParams): Promise<string> {
    const { objects: found, next } = await client.list(
      query.get('prefix') ?? '',
      query.get('continuation-token') ?? undefined,
    )
    const contents = found.map(
      ({ key, size, lastModifiedMs }) =>
        `<Contents><Key>${encodeURIComponent(key)}</Key><Size>${size}</Size><LastModified>${new Date(lastModifiedMs).toISOString()}</LastModified></Contents>`,
    )
    const more =
      next === null ? '' : `<IsTruncated>true</IsTruncated><NextContinuationToken>${next}</NextContinuationToken>`
    return `<R>${more}${contents.join('')}</R>`
  }

  async function uploads(query: URLSearchParams): Promise<string> {
    const found = await client.listUploads(query.get('prefix') ?? '')
    const each = found.map(
      ({ key, upload, startedMs }) =>
        `<Upload><Key>${key}</Key><UploadId>${upload}</UploadId><Initiated>${new Date(startedMs).toISOString()}</Initiated></Upload>`,
    )
    return `<R>${each.join('')}</R>`
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => {
      const { status, code } = error instanceof ObjectError ? error : { status: 500, code: String(error) }
      response.statusCode = status
      response.end(`<Error><Code>${code}</Code></Error>`)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  onTestFinished(() => {
    server.closeAllConnections()
    server.close()
  })
  objects.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  objects.env = {
    AWS_ACCESS_KEY_ID: ACCESS_KEY,
    AWS_SECRET_ACCESS_KEY: 'testsecret',
    AWS_ENDPOINT_URL_S3: objects.endpoint,
  }
  return objects
}

function conditions({ headers }: IncomingMessage): { range?: { start: number; end: number }; ifNoneMatch?: string } {
  const range = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '')
  return {
    ...(range === null ? {} : { range: { start: Number(range[1]), end: Number(range[2]) + 1 } }),
    ...(headers['if-none-match'] === undefined ? {} : { ifNoneMatch: headers['if-none-match'] }),
  }
}

function putConditions({ headers }: IncomingMessage): { ifMatch?: string; ifAbsent?: boolean } {
  return {
    ...(headers['if-match'] === undefined ? {} : { ifMatch: headers['if-match'] }),
    ...(headers['if-none-match'] === '*' ? { ifAbsent: true } : {}),
  }
}

function answer(response: ServerResponse, got: Got, isRange: boolean): void {
  if (got.state === 'missing') throw new ObjectError('', 404, 'NoSuchKey')
  if (got.state === 'unmodified') {
    response.statusCode = 304
    response.end()
    return
  }
  response.statusCode = isRange ? 206 : 200
  response.setHeader('etag', `"${got.etag}"`)
  response.setHeader('content-length', got.bytes.length)
  response.end(got.bytes)
}
