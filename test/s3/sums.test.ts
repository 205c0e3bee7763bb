// By what a server can check the bodies that it gets, read back from a server of our own.

import { createHash } from 'node:crypto'
import { createServer, type IncomingHttpHeaders } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { serverClient } from '../support/s3-server.ts'

const seen: { headers: IncomingHttpHeaders; body: Buffer }[] = []
const server = createServer((request, response) => {
  const parts: Buffer[] = []
  request.on('data', (part: Buffer) => parts.push(part))
  request.on('end', () => {
    seen.push({ headers: request.headers, body: Buffer.concat(parts) })
    response.setHeader('etag', '"x"').end()
  })
})
beforeAll(() => new Promise<void>((resolve) => void server.listen(0, '127.0.0.1', resolve)))
afterAll(() => void server.close())

const sum = (bytes: Uint8Array, how: string, as: 'hex' | 'base64') => createHash(how).update(bytes).digest(as)

test.each([
  ['a small object', 1_000, false, 'content-md5'],
  ['a large object', 3_000_000, false, 'x-amz-checksum-sha256'],
  ['a large part', 3_000_000, true, null],
])('%s', async (_, length, isPart, header) => {
  const body = Buffer.alloc(length, 'body')
  const client = serverClient({ endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}` })
  await (isPart ? client.uploadPart('key', 'upload', 1, body) : client.put('key', body))
  const { headers, body: got } = seen.pop()!
  expect(got.equals(body)).toBe(true)
  expect(headers['x-amz-content-sha256']).toBe(sum(body, 'sha256', 'hex'))
  const own = { 'content-md5': sum(body, 'md5', 'base64'), 'x-amz-checksum-sha256': sum(body, 'sha256', 'base64') }
  for (const [name, value] of Object.entries(own)) expect(headers[name], name).toBe(name === header ? value : undefined)
})
