// Does one thing with a large blob, and prints what it took. A process of its own, so that its peak of memory is that
// thing's alone. `large-blob.mjs <store> <what>`
import { constants } from 'node:buffer'
import { createCipheriv } from 'node:crypto'
import { createReadStream, statSync } from 'node:fs'
import { fixed, memory, openStore } from '../../dist/index.js'

const [, , path, what, file] = process.argv
const MIB = 1024 * 1024
const GIB = 1024 * MIB

/** `bytes` bytes that do not repeat, the same each time. */
function* noise(bytes) {
  const cipher = createCipheriv('aes-128-ctr', Buffer.alloc(16, 1), Buffer.alloc(16, 2))
  const zeros = Buffer.alloc(MIB)
  for (let at = 0; at < bytes; at += MIB) yield cipher.update(at + MIB <= bytes ? zeros : zeros.subarray(0, bytes - at))
}

/** Throws where two streams differ. Answers how many bytes they have. */
async function compare(actual, expected) {
  const wanted = expected[Symbol.asyncIterator]?.() ?? expected[Symbol.iterator]()
  let rest = Buffer.alloc(0)
  let at = 0
  for await (let part of actual) {
    while (part.length > 0) {
      if (rest.length === 0) {
        const step = await wanted.next()
        if (step.done) throw new Error(`there are more than ${at} bytes`)
        rest = step.value
      }
      const length = Math.min(part.length, rest.length)
      if (Buffer.compare(part.subarray(0, length), rest.subarray(0, length)) !== 0) {
        throw new Error(`wrong bytes between ${at} and ${at + length}`)
      }
      part = part.subarray(length)
      rest = rest.subarray(length)
      at += length
    }
  }
  const { done } = await wanted.next()
  if (rest.length > 0 || !done) throw new Error(`there are only ${at} bytes`)
  return at
}

const peak = () => process.resourceUsage().maxRSS * 1024

// Compiling, worker threads and addons are the base, not the blob's.
await memory().persist({ blobs: { warm: [...noise(8 * MIB)] } })
const store = await openStore(path, { keepLast: 1 })
const base = peak()
const startMs = performance.now()
const size = 5 * GIB
let result = {}

switch (what) {
  case 'persist': {
    const { bytes, unchanged } = await store.persist({ blobs: { large: noise(size) } })
    result = { ...bytes, unchanged }
    break
  }
  case 'stream': {
    const snapshot = await store.load()
    result = { bytes: await compare(snapshot.blob('large').stream(), noise(size)) }
    break
  }
  case 'range': {
    const snapshot = await store.load()
    const blob = snapshot.blob('large')
    const start = 4 * GIB + 12_345
    const parts = []
    for await (const part of blob.stream({ start, end: start + 3 * MIB })) parts.push(part)
    let at = 0
    const wanted = []
    for (const part of noise(size)) {
      if (at + part.length > start && at < start + 3 * MIB) {
        wanted.push(part.subarray(Math.max(0, start - at), Math.min(part.length, start + 3 * MIB - at)))
      }
      at += part.length
      if (at >= start + 3 * MIB) break
    }
    // Where a buffer could hold it, nobody wants it to.
    const refused = constants.MAX_LENGTH >= size || (await blob.bytes().catch(({ code }) => code)) === 'LIMIT_EXCEEDED'
    result = { same: Buffer.concat(parts).equals(Buffer.concat(wanted)), refused }
    break
  }
  case 'persist-file': {
    const { bytes } = await store.persist({ blobs: { sparse: { file } } })
    result = { ...bytes }
    break
  }
  case 'file':
  case 'writeTo': {
    const snapshot = await store.load()
    const blob = snapshot.blob('sparse')
    const copy = what === 'file' ? await blob.file() : `${file}.copy`
    if (what === 'writeTo') await blob.writeTo(copy)
    result = { bytes: await compare(createReadStream(copy), createReadStream(file)), size: statSync(copy).size }
    break
  }
  case 'chunks': {
    const { bytes } = await store.persist({ blobs: { many: noise(512 * MIB) }, chunking: fixed(512) })
    result = { ...bytes }
    break
  }
  case 'chunks-again': {
    const { bytes, unchanged } = await store.persist({ blobs: { many: noise(512 * MIB) }, chunking: fixed(512) })
    result = { ...bytes, unchanged }
    break
  }
  case 'chunks-read': {
    const snapshot = await store.load()
    result = { bytes: await compare(snapshot.blob('many').stream(), noise(512 * MIB)) }
    break
  }
}

const seconds = (performance.now() - startMs) / 1000
console.log(JSON.stringify({ ...result, seconds, baseMiB: base / MIB, beyondMiB: (peak() - base) / MIB }))
process.exit(0)
