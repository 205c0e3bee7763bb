// Fills a link cache of so many bytes, with entries of so many links, and prints by how much the process grew. Run with
// --expose-gc and a small young generation, so that little but the cache counts. From test/dist/, since Node 20 cannot
// run TypeScript.
import { randomBytes } from 'node:crypto'
import { createLinkCache } from '../dist/blocks/link-cache.js'

const [bytesMax, links] = process.argv.slice(2).map(Number)

function fill(cache, entries) {
  const walk = cache.walk()
  for (let i = 0; i < entries; i++) {
    const key = randomBytes(32).toString('latin1')
    walk.add(key, new Uint8Array(links * 33).fill(1))
    if (walk.get(key) === undefined) return i
  }
  return entries
}

function resident() {
  globalThis.gc()
  return process.memoryUsage().rss
}

// What runs for the first time is compiled, and is not the cache's.
fill(createLinkCache(bytesMax), 1000)
const before = resident()
const cache = createLinkCache(bytesMax)
const entries = fill(cache, 1e6)
const bytes = resident() - before
// The cache is used here, so that it is still there when its memory is measured.
console.log(JSON.stringify({ entries, bytes, full: fill(cache, 1) === 0 }))
