// Persists to one store in turns from several copies of holdfast in one process, beside somebody who uses the zstd
// package as its readme says. Answers the sequences it was told of. Called by copies.test.ts.
//   node copies.mjs <store> <entry> [<entry> …]
import { createRequire } from 'node:module'

const [store, ...entries] = process.argv.slice(2)
const { init } = createRequire(entries[0])('@bokuweb/zstd-wasm')
const copies = []
for (const entry of entries) copies.push(await import(entry))

function text(bytes, turn) {
  let out = ''
  for (let i = 0; out.length < bytes; i++) out += `{"id":${i},"turn":${turn},"title":"entry number ${i % 97}"}\n`
  return out
}

const sequences = []
for (let turn = 0; turn < 9; turn++) {
  const { persistSnapshot } = copies[turn % copies.length]
  await init()
  // Large enough for the worker threads every third time.
  const blobs = { large: text(turn % 3 === 0 ? 9e6 : 3e5, turn), small: text(3e4, turn) }
  const { sequence } = await persistSnapshot(store, { blobs, keepLast: 20 })
  sequences.push(sequence)
  const { loadSnapshot } = copies[(turn + 1) % copies.length]
  const snapshot = await loadSnapshot(store)
  for (const [name, bytes] of Object.entries(blobs)) {
    if ((await snapshot.blob(name).text()) !== bytes) throw new Error(`turn ${turn}: ${name} is not what was persisted`)
  }
  await snapshot.dispose()
}
console.log(JSON.stringify(sequences))
