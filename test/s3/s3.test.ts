import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, expect, onTestFinished, test } from 'vitest'
import { destroyStore, openStore, persistSnapshot, setAside } from '../../src/open.ts'
import { httpClient } from '../../src/s3/http-client.ts'
import { type AwsS3Client, checkStorage, s3 } from '../../src/s3/s3.ts'
import { sdkClient } from '../../src/s3/sdk-client.ts'
import { sign } from '../../src/s3/sign.ts'
import { type SimulatedObjects, simulatedObjects } from '../support/simulated-objects.ts'

const credentials = { accessKeyId: 'AKIAIOSFODNN7EXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY' }

test('what takes directories alone refuses a bucket, and says what to do instead', async () => {
  const place = s3({ endpoint: 'http://127.0.0.1:9', region: 'us-east-1', bucket: 'bucket', prefix: 'a', credentials })
  for (const location of [place as unknown as string, 's3://bucket/a', new URL('s3://bucket/a')]) {
    await expect(destroyStore(location)).rejects.toThrow(
      /^destroyStore: s3:\/\/bucket\/a is no directory: delete the objects/,
    )
    await expect(setAside(location, { reason: 'it is damaged' })).rejects.toThrow(/^setAside: .*another prefix/)
  }
})

describe('a signature', () => {
  const empty = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855'

  // The examples of AWS's page on Signature Version 4 for S3.
  test.each([
    [
      { method: 'GET', path: '/test.txt', query: [], headers: { range: 'bytes=0-9' }, payload: empty },
      'f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
    ],
    [
      { method: 'GET', path: '/', query: [['lifecycle', '']], headers: {}, payload: empty },
      'fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543',
    ],
    [
      {
        method: 'GET',
        path: '/',
        query: [
          ['max-keys', '2'],
          ['prefix', 'J'],
        ],
        headers: {},
        payload: empty,
      },
      '34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
    ],
  ] as const)('is that of the example %#', (request, signature) => {
    const now = new Date('2013-05-24T00:00:00Z')
    const signed = sign({ host: 'examplebucket.s3.amazonaws.com', ...request }, credentials, 'us-east-1', now)
    expect(signed.headers.authorization).toContain(`Signature=${signature}`)
  })
})

describe('s3', () => {
  test.each([
    [{ bucket: '' }, 'bucket'],
    [{ bucket: 'a/b' }, 'bucket'],
    [{ bucket: 'bucket', prefix: 'a//b' }, 'prefix'],
    [{ bucket: 'bucket', prefix: '../a' }, 'prefix'],
    [{ bucket: 'bucket', endpoint: 'ftp://host' }, 'endpoint'],
    [{ bucket: 'bucket', endpoint: 'nothing' }, 'endpoint'],
    [{ bucket: 'bucket', credentials: {} }, 'credentials'],
    [{ bucket: 'bucket', client: {} }, 'client'],
    [{ bucket: 'bucket', client: { send() {} }, region: 'x' }, 'region'],
    [{ bucket: 'bucket', buckets: 1 }, 'buckets'],
  ])('refuses %j', (options, what) => {
    expect(() => s3(options as never)).toThrow(TypeError)
    expect(() => s3(options as never)).toThrow(what)
  })

  test('gives a place that names itself', async () => {
    const place = s3({ bucket: 'bucket', prefix: '/a/b/' })
    expect(place.location).toBe('s3://bucket/a/b')
    const store = await openStore(place)
    expect(store.location).toBe('s3://bucket/a/b')
    await expect(openStore(place, { lock: 'none' })).rejects.toThrow(TypeError)
    await expect(openStore(place, { filesDir: '/tmp/x' })).rejects.toThrow(TypeError)
    await store.close()
  })

  test('makes URLs of its scheme places, once it is imported', async () => {
    const store = await openStore('s3://bucket/a%20b')
    expect(store.location).toBe('s3://bucket/a b')
    await store.close()
    await expect(openStore('s3://bucket/a?versionId=3')).rejects.toThrow(TypeError)
    await expect(openStore('s3://key:secret@bucket/a')).rejects.toThrow(/^(?!.*secret)s3: the URL/)
  })
})

/** The aggregated client of the SDK, as far as it is used, over a simulated server. */
function fakeSdk(): { client: AwsS3Client; log: string[]; server: SimulatedObjects } {
  const server = simulatedObjects()
  const real = server.client()
  const log: string[] = []
  const failure = (name: string, status: number): Error =>
    Object.assign(new Error(name), { name, $metadata: { httpStatusCode: status } })
  const unwrap = async <T>(work: Promise<T>): Promise<T> => {
    try {
      return await work
    } catch (error) {
      const { status, code } = error as { status: number; code: string }
      throw failure(code, status)
    }
  }
  interface Input {
    Key: string
    Prefix: string
    Body: Uint8Array
    UploadId: string
    PartNumber: number
    Range?: string
    IfMatch?: string
    IfNoneMatch?: string
    ContinuationToken?: string
  }
  const methods: Record<string, (input: Input) => Promise<unknown>> = {
    async getObject({ Key, Range, IfNoneMatch }) {
      const parts = Range === undefined ? null : /^bytes=(\d+)-(\d+)$/.exec(Range)!
      const got = await real.get(Key, {
        ...(parts === null ? {} : { range: { start: Number(parts[1]), end: Number(parts[2]) + 1 } }),
        ...(IfNoneMatch === undefined ? {} : { ifNoneMatch: IfNoneMatch }),
      })
      if (got.state === 'missing') throw failure('NoSuchKey', 404)
      if (got.state === 'unmodified') throw failure('NotModified', 304)
      const Body = { transformToByteArray: async () => got.bytes }
      return { Body, ETag: `"${got.etag}"`, ContentLength: got.bytes.length }
    },
    async putObject({ Key, Body, IfMatch, IfNoneMatch }) {
      const condition = IfNoneMatch === '*' ? { ifAbsent: true } : IfMatch === undefined ? {} : { ifMatch: IfMatch }
      const { etag } = await unwrap(real.put(Key, Body, condition))
      return { ETag: `"${etag}"` }
    },
    async headObject({ Key }) {
      const there = await real.head(Key)
      if (there === null) throw failure('NotFound', 404)
      return { ContentLength: there.size }
    },
    async listObjectsV2({ Prefix, ContinuationToken }) {
      const { objects, next } = await real.list(Prefix, ContinuationToken)
      return {
        Contents: objects.map(({ key, size, lastModifiedMs }) => ({
          Key: key,
          Size: size,
          LastModified: new Date(lastModifiedMs),
        })),
        IsTruncated: next !== null,
        NextContinuationToken: next,
      }
    },
    deleteObject: ({ Key }) => real.delete(Key),
    createMultipartUpload: async ({ Key }) => ({ UploadId: await real.startUpload(Key) }),
    uploadPart: async ({ Key, UploadId, PartNumber, Body }) => ({
      ETag: `"${(await real.uploadPart(Key, UploadId, PartNumber, Body)).etag}"`,
    }),
  }
  for (const [name, method] of Object.entries(methods)) {
    methods[name] = (input) => {
      log.push(name)
      return method(input)
    }
  }
  return { client: { ...methods, send: async () => undefined } as unknown as AwsS3Client, log, server }
}

test("the user's own client of the SDK keeps a store", async () => {
  const { client, log } = fakeSdk()
  const place = s3({ client, bucket: 'bucket', prefix: 'a' })
  for (const text of ['one', 'two']) await persistSnapshot(place, { blobs: { a: Buffer.from(text) } })
  const store = await openStore(place)
  expect(await (await store.load())!.blob('a').text()).toBe('two')
  expect(await (await store.load({ at: 1 }))!.blob('a').text()).toBe('one')
  expect(log).toContain('getObject')
  await store.close()
})

test('checkStorage tells what a server does, and what it does not', async () => {
  const report = await checkStorage({ client: fakeSdk().client, bucket: 'bucket' })
  expect(report).toMatchObject({ location: 's3://bucket', ok: true })
  expect(report.requirements).toHaveLength(8)
  const bad = fakeSdk()
  bad.server.ignores.add('ifAbsent')
  expect(await checkStorage({ client: bad.client, bucket: 'bucket' })).toMatchObject({
    ok: false,
    requirements: expect.arrayContaining([
      expect.objectContaining({ state: 'violated', why: 'it answered 200 and stored the object' }),
      expect.objectContaining({ state: 'untested' }),
    ]),
  })
})

test('a client that takes commands needs their package, and says so', async () => {
  const client = sdkClient({ send: async () => undefined }, 'bucket', '')
  await expect(client.get('x')).rejects.toThrow(/new S3\(…\)/)
})

describe("the user's own client gives a range as it comes", () => {
  const read = async (body: object, ContentLength = 6): Promise<unknown> => {
    const given: [string, number][] = []
    const into = (bytes: Uint8Array, at: number): void => void given.push([Buffer.from(bytes).toString(), at])
    const Body = { transformToByteArray: async () => Buffer.from('whole'), ...body }
    const own = { send: async () => undefined, getObject: async () => ({ Body, ContentLength }) }
    const got = await sdkClient(own as unknown as AwsS3Client, 'bucket', '')
      .get('x', { range: { start: 10, end: 16 }, into })
      .catch((error: Error & { code?: string }) => error.code)
    return [typeof got === 'object' && got.state === 'found' ? Buffer.from(got.bytes).toString() : got, given]
  }
  const parts = (...texts: string[]): object => ({
    async *[Symbol.asyncIterator]() {
      for (const text of texts) yield Buffer.from(text)
    },
  })

  test.each([
    [
      'in parts',
      () => read(parts('ab', 'cdef')),
      [
        '',
        [
          ['ab', 0],
          ['cdef', 2],
        ],
      ],
    ],
    ['and whole where it has no parts', () => read({}, 5), ['whole', []]],
    ['and whole where it is another range', () => read(parts('who', 'le'), 5), ['whole', []]],
    ['but none that ends early', () => read(parts('ab')), ['BodyCutShort', [['ab', 0]]]],
    ['but none that goes on', () => read(parts('abcd', 'efgh')), ['BodyCutShort', [['abcd', 0]]]],
  ] as [string, () => Promise<unknown>, unknown][])('%s', async (_what, run, expected) => {
    expect(await run()).toEqual(expected)
  })
})

describe('the client over HTTP', () => {
  type Handler = (request: IncomingMessage, body: string, response: ServerResponse) => void

  async function clientOf(handler: Handler, { idleMs = 5_000 } = {}) {
    const server = createServer(async (request, response) => {
      let body = ''
      for await (const part of request) body += part
      handler(request, body, response)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => {
      server.closeAllConnections()
      server.close()
    })
    const endpoint = new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`)
    const options = { region: 'us-east-1', bucket: 'bucket', prefix: 'a b', pathStyle: true, idleMs }
    return httpClient({ ...options, endpoint, credentials: async () => credentials })
  }

  test('sends conditions as they are, and takes ETags without quotes', async () => {
    const seen: Record<string, unknown>[] = []
    const client = await clientOf(({ method, url, headers }, body, response) => {
      seen.push({ method, url, body, match: headers['if-match'], absent: headers['if-none-match'] })
      response.setHeader('etag', '"abc"').end()
    })
    expect(await client.put('HEAD.json', Buffer.from('x'), { ifMatch: '"old"' })).toEqual({ etag: 'abc' })
    await client.put('HEAD.json', Buffer.from('x'), { ifAbsent: true })
    expect(seen).toEqual([
      { method: 'PUT', url: '/bucket/a%20b/HEAD.json', body: 'x', match: '"old"', absent: undefined },
      { method: 'PUT', url: '/bucket/a%20b/HEAD.json', body: 'x', match: undefined, absent: '*' },
    ])
  })

  test('tells an object that is missing from a bucket that is', async () => {
    const client = await clientOf(({ url }, _body, response) => {
      response.statusCode = 404
      response.end(
        `<Error><Code>${url!.includes('none') ? 'NoSuchBucket' : 'NoSuchKey'}</Code><Message>no &amp; no</Message></Error>`,
      )
    })
    expect(await client.get('x')).toEqual({ state: 'missing' })
    await expect(client.get('none')).rejects.toMatchObject({ status: 404, code: 'NoSuchBucket', message: 'no & no' })
  })

  test('gives a range to whom it is for as it comes, and whatever else as bytes', async () => {
    const client = await clientOf(({ headers }, _body, response) => {
      const isWhole = headers.range === 'bytes=0-9'
      response.statusCode = isWhole ? 200 : 206
      const body = isWhole ? '0123456789 and all the rest' : headers.range === 'bytes=90-99' ? 'end' : 'abcdefghij'
      response.setHeader('content-length', body.length)
      response.write(body.slice(0, 2))
      setTimeout(() => response.end(body.slice(2)), 10)
    })
    const read = async (start: number): Promise<unknown> => {
      const given: [string, number][] = []
      const into = (bytes: Uint8Array, at: number): void => void given.push([Buffer.from(bytes).toString(), at])
      const got = await client.get('x', { range: { start, end: start + 10 }, into })
      if (got.state !== 'found') throw new Error(got.state)
      return [got.isGiven, Buffer.from(got.bytes).toString(), given]
    }
    expect(await read(20)).toEqual([
      true,
      '',
      [
        ['ab', 0],
        ['cdefghij', 2],
      ],
    ])
    expect(await read(90)).toEqual([false, 'end', []])
    expect(await read(0)).toEqual([undefined, '0123456789', []])
  })

  test('gives no body that was cut short', async () => {
    const client = await clientOf((_request, _body, response) => {
      response.setHeader('content-length', '100')
      response.write('only this')
      setTimeout(() => response.destroy(), 20)
    })
    await expect(client.get('x')).rejects.toMatchObject({ status: 0 })
  })

  test('ends a request that nobody answers', async () => {
    const client = await clientOf(() => undefined, { idleMs: 50 })
    await expect(client.get('x')).rejects.toMatchObject({ status: 0, message: 'no answer for 50 ms' })
  })

  test('lists page by page, below the prefix', async () => {
    const client = await clientOf(({ url }, _body, response) => {
      const token = new URL(url!, 'http://x').searchParams.get('continuation-token')
      const name = token === null ? 'first' : 'second'
      const time = '<LastModified>2026-11-28T10:00:00.000Z</LastModified>'
      const contents = `<Contents><Key>a+b%2Fpacks%2F${name}</Key>${time}<Size>7</Size></Contents>`
      const more =
        token === null ? '<IsTruncated>true</IsTruncated><NextContinuationToken>go on</NextContinuationToken>' : ''
      response.end(`<ListBucketResult>${more}${contents}</ListBucketResult>`)
    })
    const lastModifiedMs = Date.parse('2026-11-28T10:00:00.000Z')
    expect(await client.list('packs/')).toEqual({
      objects: [{ key: 'packs/first', size: 7, lastModifiedMs }],
      next: 'go on',
    })
    expect(await client.list('packs/', 'go on')).toEqual({
      objects: [{ key: 'packs/second', size: 7, lastModifiedMs }],
      next: null,
    })
  })
})
