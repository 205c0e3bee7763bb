// One builder or reader of `cluster.mjs`. It tells its parent of each thing that it did, until it is told to end.

import { setTimeout as sleep } from 'node:timers/promises'
import { isHoldfastError } from '../../dist/index.js'
import { contentOf, openThrough } from './cluster-store.mjs'

const [, , kind, number, prefix, ...endpoints] = process.argv
/** Errors that a server in trouble may give. All others are faults of ours. */
const EXPECTED = ['IO_FAILED', 'COMMIT_UNKNOWN', 'HEAD_CONFLICT', 'STORE_LOCKED']
let isEnding = false
process.on('message', () => {
  isEnding = true
})
process.on('disconnect', () => process.exit(1))

const stores = await Promise.all(endpoints.map((endpoint) => openThrough(endpoint, prefix)))
let turn = Number(number)

/** Through the other gateway after each failure. */
async function attempt(work) {
  try {
    return await work(stores[turn % stores.length])
  } catch (error) {
    turn += 1
    if (!isHoldfastError(error) || !EXPECTED.includes(error.code))
      process.send({ wrong: `${error.code ?? ''} ${error.stack}` })
    else process.send({ error: error.code })
    await sleep(200)
    return null
  }
}

async function build() {
  for (let n = 0; !isEnding; n++) {
    // One more attempt is another snapshot: whether the one before is there is not known.
    const label = `builder ${number}, ${n}`
    const begun = performance.now()
    const made = await attempt((store) => store.persist({ blobs: { index: contentOf(label) }, metadata: { label } }))
    if (made !== null) process.send({ acknowledged: label, sequence: made.sequence, ms: performance.now() - begun })
    await sleep(500)
  }
}

async function read() {
  let newest = 0
  while (!isEnding) {
    const begun = performance.now()
    const seen = await attempt(async (store) => {
      const snapshot = await store.load({ required: true })
      const isRight = contentOf(snapshot.metadata.label).equals(Buffer.from(await snapshot.blob('index').bytes()))
      await snapshot.dispose()
      return { isRight, sequence: snapshot.sequence, label: snapshot.metadata.label }
    })
    if (seen === null) continue
    if (!seen.isRight) process.send({ wrong: `wrong bytes in ${seen.label}` })
    if (seen.sequence < newest) process.send({ wrong: `${seen.sequence} after ${newest}` })
    newest = Math.max(newest, seen.sequence)
    process.send({ loaded: seen.sequence, ms: performance.now() - begun })
    await sleep(300)
  }
}

await (kind === 'builder' ? build() : read())
await Promise.allSettled(stores.map((store) => store.close()))
process.exit(0)
