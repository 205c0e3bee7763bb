// Loads and verifies the current snapshot all the time, until its stdin ends. `reader.mjs <store>`. Prints what it saw.
import { setTimeout as sleep } from 'node:timers/promises'
import { loadSnapshot, openStore } from '../../dist/index.js'
import { verify } from './content.mjs'

const [, , path] = process.argv
let stopped = false
process.stdin.on('end', () => (stopped = true)).resume()
console.log('ready')

const seen = { loads: 0, nulls: 0, newest: 0, distinct: 0 }
const store = await openStore(path)
while (!stopped) {
  // With a store of its own each time, and with one that stays open.
  const snapshot = seen.loads % 2 === 0 ? await loadSnapshot(path) : await store.load()
  if (snapshot === null) {
    seen.nulls += 1
    if (seen.newest > 0) throw new Error('there was a snapshot, and now there is none')
    await sleep(5)
    continue
  }
  const n = await verify(snapshot)
  if (n < seen.newest) throw new Error(`snapshot ${n} after ${seen.newest}`)
  if (n > seen.newest) seen.distinct += 1
  seen.newest = n
  seen.loads += 1
  await snapshot.dispose()
  // It shares a few processors with those it watches.
  await sleep(Math.random() * 20)
}
console.log(JSON.stringify(seen))
