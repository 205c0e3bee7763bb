// One process of a storm: `write` persists generation after generation until it is killed, `read` loads again and again
// until its stdin ends. Both print a line of JSON for each thing done.
import { writeFileSync } from 'node:fs'
import { isHoldfastError, openStore } from '../../dist/index.js'

const [, , role, path, from] = process.argv

/** Blobs that belong together, half of them new with each generation: a mixture of two generations is seen. */
function blobsOf(generation) {
  const index = new Uint8Array(300_000)
  fill(index.subarray(0, 150_000), Math.floor(generation / 8))
  fill(index.subarray(150_000), generation)
  const ids = new Uint8Array(2_000 + (generation % 50))
  fill(ids, generation)
  return { index, ids, number: Buffer.from(String(generation)) }
}

function fill(bytes, seed) {
  let x = (Math.imul(seed + 1, 0x9e3779b1) ^ 0x5bd1e995) | 1
  for (let at = 0; at < bytes.length; at += 1) {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    bytes[at] = x
  }
}

// Synchronously, so that what was acknowledged is known before any kill.
const say = (line) => writeFileSync(1, `${JSON.stringify(line)}\n`)

async function write() {
  const store = await openStore(path, { keepLast: 1, packBytesMax: 1024 * 1024, onWarning: () => undefined })
  for (let generation = Number(from); ; generation += 1) {
    // Every seventh is the one before again; every fifth is saved into a path and laid out as a file.
    const blobs = blobsOf(generation % 7 === 0 ? generation - 1 : generation)
    const index = blobs.index
    if (generation % 5 === 0) blobs.index = (temp) => writeFileSync(temp, index)
    const { sequence } = await store.persist({ blobs, lockWaitMs: 20_000 })
    say({ sequence, generation: Number(Buffer.from(blobs.number).toString()) })
  }
}

async function read() {
  let reading = true
  process.stdin.on('end', () => (reading = false)).resume()
  const store = await openStore(path, { onWarning: () => undefined })
  let [loads, files, sequence] = [0, 0, 0]
  while (reading) {
    const snapshot = await store.load({ required: true, minSequence: sequence })
    try {
      sequence = snapshot.sequence
      const got = {}
      // Lazily, with pauses: meanwhile a writer retires and deletes the packs this reads from.
      for (const name of ['number', 'ids', 'index']) {
        if (loads % 3 === 0) await new Promise((resolve) => setTimeout(resolve, 20))
        got[name] = await snapshot.blob(name).bytes()
      }
      const expected = blobsOf(Number(Buffer.from(got.number).toString()))
      for (const [name, bytes] of Object.entries(expected)) {
        if (Buffer.compare(bytes, got[name]) !== 0)
          throw new Error(`snapshot ${sequence}: blob ${name} has other bytes`)
      }
      loads += 1
      if (loads % 10 === 0) {
        await snapshot.blob('ids').file()
        files += 1
      }
    } finally {
      await snapshot.dispose()
    }
  }
  await store.close()
  say({ loads, files, sequence })
}

try {
  await (role === 'write' ? write() : read())
} catch (error) {
  say({ error: error.message, code: isHoldfastError(error) ? error.code : null })
  process.exit(1)
}
