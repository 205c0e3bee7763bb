// Stores in buckets on the command line: keys, region and endpoint come from the environment, as AWS's own programs
// take them. Loaded only for an `s3://` URL.

import { isHoldfastError, type RemoteLocation } from '../index.ts'
import { openRemote, remoteAt } from '../remote.ts'
import { checkStorage, type StorageReport } from '../s3/s3.ts'
import { usage } from './failure.ts'

const ENDPOINTS = 'AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL'

/** @throws a usage error for what the URL or the environment lacks */
export async function bucketAt(url: string): Promise<RemoteLocation> {
  assertKeys(url)
  // The URL or the endpoint is wrong.
  return await told(() => remoteAt(url)!)
}

/** Whether there is a store, damaged or not. */
export async function hasStore(url: string): Promise<boolean> {
  const storage = await openRemote(await bucketAt(url), { readOnly: true })
  try {
    return (await storage.readHead()) !== null
  } catch (error) {
    if (!isHoldfastError(error, 'IO_FAILED')) return true
    throw error
  }
}

/** Whether the server does what a store needs. */
export async function checkBucket(url: string): Promise<StorageReport> {
  assertKeys(url)
  return await told(() => {
    const { hostname, pathname } = new URL(url)
    return checkStorage({ bucket: hostname, prefix: decodeURIComponent(pathname) })
  })
}

function assertKeys(url: string): void {
  const missing = ['AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'].filter((name) => (process.env[name] ?? '') === '')
  if (missing.length === 0) return
  throw usage(
    `${url}: ${missing.join(' and ')} ${missing.length === 1 ? 'is' : 'are'} not set. Set the keys, AWS_SESSION_TOKEN if they are temporary, ` +
      `AWS_REGION, and ${ENDPOINTS} for servers other than AWS; profiles and roles are not looked up`,
  )
}

/** What the library refuses as misuse is, from the command line, a mistyped URL or variable. */
async function told<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof TypeError) throw usage(`${error.message} (from the URL, or from ${ENDPOINTS})`)
    throw error
  }
}
