// One operation on one store, in a process that has nothing else in its memory. `measured.mjs <store> <sound store>
// <operation>`. Prints how it ended, the milliseconds of processor time and the bytes of memory at the peak that it
// took.

import { readFileSync, writeFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { fixed, openStore } from '../../../dist/index.js'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')

const [, , path, sound, operation] = process.argv

/** Larger blobs are only begun. */
const READ_MAX = 16 * 1024 * 1024

const OPERATIONS = {
  snapshots: (store) => store.snapshots(),
  bytes: (store) =>
    store.restore(async (snapshot) => {
      for (const name of snapshot.names) if (snapshot.blob(name).size <= READ_MAX) await snapshot.blob(name).bytes()
    }),
  stream: (store) =>
    store.restore(async (snapshot) => {
      for (const name of snapshot.names) {
        const end = snapshot.blob(name).size > READ_MAX ? 1_000 : undefined
        for await (const _ of snapshot.blob(name).stream({ end })) void _
      }
    }),
  async fallback(store) {
    await (await store.load({ fallback: true })).dispose()
  },
  verify: (store) => store.verify(),
  quick: (store) => store.verify({ level: 'quick' }),
  scrub: (store) => store.scrub(),
  plan: (store) => store.repair({ dryRun: true }),
  repair: (store) => store.repair(),
  persist: (store) => store.persist({ blobs: { blob: { source: Buffer.alloc(5_000, 7), chunking: fixed(512) } } }),
}

async function run(at) {
  const store = await openStore(at, { onWarning: () => undefined })
  try {
    const done = await OPERATIONS[operation](store)
    await done?.snapshot?.dispose()
    return 'ok'
  } catch (error) {
    return error.code ?? String(error.stack)
  } finally {
    await store.close()
  }
}

// What is loaded and compiled once is not the store's doing.
await run(sound)
collectGarbage()
writeFileSync('/proc/self/clear_refs', '5')
const before = process.memoryUsage.rss()
const start = process.cpuUsage()
const outcome = await run(path)
const { user, system } = process.cpuUsage(start)
const peakKiB = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]
process.stdout.write(
  JSON.stringify({ outcome, ms: Math.round((user + system) / 1_000), bytes: peakKiB * 1024 - before }),
)
