// Runs with few file descriptors (ulimit -n, given by the test), takes all but a few, and persists and loads with what
// is left: with 0, with 1, and so on until both work.
import { closeSync, existsSync, openSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { writeFileDurable } from '../../dist/durable.js'
import { loadSnapshot, openStore } from '../../dist/index.js'

const [, , path] = process.argv
const store = await openStore(path)
let generation = 1
let next = 1

const blobsOf = (number) => ({
  index: new Uint8Array(150_000).map((_, at) => (at * 31 + number * 7 + (at >> 8)) & 0xff),
  ids: new Uint8Array(500).fill(number),
})

async function readAll() {
  const snapshot = await loadSnapshot(path, { required: true })
  try {
    const blobs = {}
    for (const name of snapshot.names) blobs[name] = await snapshot.blob(name).bytes()
    return blobs
  } finally {
    await snapshot.dispose()
  }
}

async function outcome(work) {
  try {
    return { done: true, value: await work() }
  } catch (error) {
    return {
      done: false,
      code: error.code,
      systemCode: error.details?.code ?? error.cause?.code,
      message: error.message,
    }
  }
}

function assert(condition, what) {
  if (condition) return
  console.error(`FAILED: ${what}`)
  process.exit(1)
}

const same = (a, b) => Object.keys(a).every((name) => Buffer.compare(a[name], b[name]) === 0)
const openNow = () => readdirSync('/proc/self/fd').length

// Everything that is loaded lazily (addons, threads) is loaded before the descriptors are gone.
await store.persist({ blobs: blobsOf(generation) })
await readAll()
await writeFileDurable(join(path, '..', 'file'), 'old')
const openBefore = openNow()

const seen = { persist: [], load: [], durable: [] }
for (let left = 0; left < 24; left += 1) {
  const taken = []
  try {
    for (;;) taken.push(openSync('/dev/null', 'r'))
  } catch (error) {
    assert(error.code === 'EMFILE', `taking all descriptors: ${error.message}`)
  }
  for (let freed = 0; freed < left; freed += 1) closeSync(taken.pop())
  next += 1
  const persisted = await outcome(() => store.persist({ blobs: blobsOf(next) }))
  const loaded = await outcome(readAll)
  const written = await outcome(() => writeFileDurable(join(path, '..', 'file'), `new ${left}`))
  for (const fd of taken) closeSync(fd)
  if (persisted.done) generation = next
  for (const [what, result] of Object.entries({ persist: persisted, load: loaded, durable: written })) {
    seen[what].push(result.done ? 'done' : result.code)
    // A persist opens the directories before it renames, and is never in doubt for want of a descriptor.
    const expected = ['IO_FAILED', ...(what === 'durable' ? ['COMMIT_UNKNOWN'] : [])]
    assert(
      result.done || (expected.includes(result.code) && result.systemCode === 'EMFILE'),
      `${what} with ${left} descriptors left: ${JSON.stringify(result)}`,
    )
  }
  assert(!loaded.done || same(loaded.value, blobsOf(generation)), `a load with ${left} left gave other bytes`)
  // With descriptors again, nothing is lost and nothing is left.
  assert(same(await readAll(), blobsOf(generation)), `after ${left} left, the snapshot is not generation ${generation}`)
  // An open store may be at work on its packs behind a persist, and is done soon.
  const temps = () => readdirSync(join(path, 'tmp'))
  for (let tries = 0; temps().length > 0 && tries < 100; tries += 1) await sleep(100)
  assert(temps().length === 0, `after ${left} left, tmp/ holds ${temps()}`)
}
next += 1
await store.persist({ blobs: blobsOf(next) })
const report = await store.verify()
assert(report.ok, `verify: ${JSON.stringify(report.problems)}`)
assert(same(await readAll(), blobsOf(next)), 'the last snapshot')
await store.close()
assert(readdirSync(join(path, '..')).length === 2, `beside the store lie ${readdirSync(join(path, '..'))}`)
assert(existsSync(join(path, 'HEAD.json')), 'HEAD')
console.log(JSON.stringify({ seen, leaked: openNow() - openBefore }))
process.exit(0)
