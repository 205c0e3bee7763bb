// The server that `npm run test:s3` has started. Each client has a folder of the bucket for itself.

import { randomBytes } from 'node:crypto'
import { httpClient } from '../../src/s3/http-client.ts'
import type { ObjectClient } from '../../src/storage/object/client.ts'

/** Undefined: there is none. */
export const serverEndpoint = process.env.HOLDFAST_S3_ENDPOINT
export const BUCKET = 'holdfast-test'
export const CREDENTIALS = { accessKeyId: 'testaccess', secretAccessKey: 'testsecret' }

export function serverClient({ endpoint = serverEndpoint!, prefix = newPrefix() } = {}): ObjectClient {
  return httpClient({
    endpoint: new URL(endpoint),
    region: 'us-east-1',
    bucket: BUCKET,
    prefix,
    credentials: async () => CREDENTIALS,
    pathStyle: true,
    idleMs: 10_000,
  })
}

export function newPrefix(): string {
  return `test/${randomBytes(8).toString('hex')}`
}

/** The bucket of all tests: a PUT of nothing below it makes it. */
export async function makeBucket(): Promise<void> {
  await serverClient({ prefix: '' }).put('', new Uint8Array(0))
}
