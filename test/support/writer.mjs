// Persists one snapshot after the other until it is killed. `writer.mjs <store> <keepLast>`; starts when told a number.
import { once } from 'node:events'
import { memory, openStore } from '../../dist/index.js'
import { blobsOf } from './content.mjs'

const [, , path, keepLast] = process.argv
const store = await openStore(path, { keepLast: Number(keepLast) })
// What a process does only once (compiling, loading addons) is no part of the persist that is to be interrupted.
await memory().persist({ blobs: blobsOf(0) })
console.log('ready')
const [first] = await once(process.stdin, 'data')
for (let n = Number(first); ; n++) {
  const { sequence } = await store.persist({ blobs: blobsOf(n), metadata: { n } })
  // Written at once: pipes are synchronous here, so what is said was said before any later SIGKILL.
  console.log(`${n} ${sequence}`)
}
