// Makes report.png: a report of a store that three kinds of blobs were saved into, in Debian's Chromium.
//
//   npm run build && node docs/pictures/report.mjs

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { openStore } from 'holdfast'
import { chromium } from 'playwright-core'

const directory = mkdtempSync(join(tmpdir(), 'holdfast-picture-'))
const page = join(directory, 'report.html')
const random = generator(20_261_128)

/** xorshift32 (Marsaglia, 2003). */
function generator(seed) {
  let state = seed
  const next = () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return state >>> 0
  }
  return {
    below: (limit) => next() % limit,
    bytes: (length) => Buffer.from(Uint32Array.from({ length: length / 4 }, next).buffer),
  }
}

const store = await openStore(join(directory, 'store'), { keep: { last: 40 } })
const vectors = random.bytes(24_000_000)
const graph = random.bytes(8_400_000)
let documents = random.bytes(3_000_000)
for (let i = 0; i < 26; i++) {
  // Vectors are overwritten in one place, links all over, and documents are appended.
  vectors.set(random.bytes(500_000), 7_000_000 + i * 620_000)
  for (let k = 0; k < 60; k++) graph.set(random.bytes(64), random.below(graph.length - 64))
  documents = Buffer.concat([documents, random.bytes(90_000)])
  if (i === 15) vectors.set(random.bytes(3_000_000), 2_000_000)
  await store.persist({
    blobs: { 'vectors.f32': vectors, 'graph.links': graph, 'documents.jsonl': documents },
    message: i === 15 ? 'new model for a tenth of the vectors' : `save ${i}`,
  })
}
await store.tag('v1', { at: 15 })
await store.forget([3, 4, 5, 8, 9])
writeFileSync(page, (await store.report({ verify: 'full' })).html)

await store.close()

const browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] })
const tab = await browser.newPage({ viewport: { width: 860, height: 900 }, colorScheme: 'light' })
await tab.goto(pathToFileURL(page).href)
const top = await tab.locator('#timeline-title').boundingBox()
const last = await tab.locator('.blob').last().locator('.said').boundingBox()
await tab.screenshot({
  path: fileURLToPath(new URL('report.png', import.meta.url)),
  fullPage: true,
  clip: { x: 0, y: top.y - 20, width: 860, height: last.y + last.height - top.y + 34 },
})
await browser.close()
rmSync(directory, { recursive: true })
