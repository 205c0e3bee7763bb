// Two copies of the package in one process, in turns on one store, while the application uses the WebAssembly package
// of zstd itself:
//   node turns.mjs <directory> <url of one copy> <url of the other>
// Prints what was stored of what was persisted.

import { createRequire } from 'node:module'

const [directory, ...urls] = process.argv.slice(2)
const zstd = createRequire(urls[0])('@bokuweb/zstd-wasm')
const copies = await Promise.all(urls.map(async (url) => await import(url)))
const stores = await Promise.all(
  copies.map(({ openStore }) => openStore(directory, { keepLast: 100, onWarning: fail })),
)

function fail(warning) {
  throw new Error(`${warning.code}: ${warning.message}`)
}

function text(bytes, seed) {
  const lines = []
  for (let i = 0, length = 0; length < bytes; i++) {
    lines.push(`{"id":${i * seed},"title":"entry number ${i} of ${seed}"}\n`)
    length += lines.at(-1).length
  }
  return Buffer.from(lines.join(''))
}

let inits = 0

/**
 * As the package's documentation says. Its second `init` breaks the package itself, so only the first is followed by
 * use.
 */
async function application() {
  await zstd.init()
  inits += 1
  if (inits > 1) return
  const bytes = text(300_000, 7)
  if (Buffer.compare(zstd.decompress(zstd.compress(bytes, 3)), bytes) !== 0) throw new Error('the application')
}

const kept = new Map()
let total = 0
let written = 0
for (let round = 1; round <= 8; round++) {
  if (round % 3 === 0) await application()
  // On the main thread, and in worker threads.
  const blob = text(round % 4 < 2 ? 200_000 : 9_000_000, round)
  const saved = await stores[round % 2].persist({ blobs: { blob } })
  total += blob.length
  written += saved.bytes.written
  kept.set(saved.sequence, blob)
  for (const store of stores) {
    if (round % 4 === 1) await application()
    for (const [at, expected] of kept) {
      const snapshot = await store.load({ at })
      const bytes = await snapshot.blob('blob').bytes()
      if (Buffer.compare(bytes, expected) !== 0) throw new Error(`snapshot ${at} is not what was persisted`)
      await snapshot.dispose()
    }
    const { ok } = await store.verify()
    if (!ok) throw new Error('an intact store is called damaged')
  }
}
for (const store of stores) await store.close()
console.log(JSON.stringify({ snapshots: kept.size, total, written }))
