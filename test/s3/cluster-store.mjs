// The store of `cluster.mjs`, and what its snapshots hold: a label says each byte.

import { createHash } from 'node:crypto'
import { openStore } from '../../dist/index.js'
import { s3 } from '../../dist/s3/s3.js'

const BUCKET = 'holdfast-test'
const BYTES = 512 * 1024
const credentials = { accessKeyId: 'testaccess', secretAccessKey: 'testsecret' }

export async function openThrough(endpoint, prefix) {
  const place = s3({ bucket: BUCKET, prefix, endpoint, credentials, requestIdleMs: 15_000 })
  return await openStore(place, { keep: { last: 1000 }, onWarning: () => undefined })
}

/** Most of it is the same whatever the label, so that snapshots share chunks. */
export function contentOf(label) {
  const bytes = Buffer.alloc(BYTES)
  for (let at = 0; at < BYTES; at += 32) createHash('sha256').update(`common ${at}`).digest().copy(bytes, at)
  const from = (createHash('sha256').update(label).digest().readUInt32LE() % (BYTES / 65_536)) * 65_536
  for (let at = 0; at < 65_536; at += 32)
    createHash('sha256')
      .update(`${label} ${at}`)
      .digest()
      .copy(bytes, from + at)
  return bytes
}
