// Bytes in an object store after six saves of an engine, all kept: holdfast, and restic on the same server. On a server
// of your own, with the keys of `npm run test:s3`, and with the engines of `npm install --prefix bench`:
//
//   HOLDFAST_S3_ENDPOINT=http://127.0.0.1:7490 node bench/object-store.mjs generations

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { nodeFileSystem } from '../src/fs/node.ts'
import { localScratch } from '../src/local/local.ts'
import { objectStorage } from '../src/storage/object/storage.ts'
import { createStore } from '../src/store.ts'
import { BUCKET, CREDENTIALS, makeBucket, newPrefix, serverClient, serverEndpoint } from '../test/support/s3-server.ts'
import { chunkingOf, type EngineSeries, engineSeries } from './engines.ts'
import { installed, run } from './tools.ts'

const MIB = 2 ** 20

/** Of all objects below a prefix, and how many there are. */
async function weigh(prefix: string): Promise<{ bytes: number; objects: number }> {
  const client = serverClient({ prefix })
  const sum = { bytes: 0, objects: 0 }
  for (let next: string | undefined; ; ) {
    const listed = await client.list('', next)
    for (const { size } of listed.objects) sum.bytes += size
    sum.objects += listed.objects.length
    if (listed.next === null) return sum
    next = listed.next
  }
}

async function holdfastBytes(series: EngineSeries): Promise<{ bytes: number; objects: number }> {
  const prefix = newPrefix()
  const storage = objectStorage({ client: serverClient({ prefix }), trusted: 'unquoted' })
  const parts = { storage, fs: nodeFileSystem, local: localScratch(nodeFileSystem), journal: null, storageAt: null }
  for (const source of series.generations) {
    // A process for each save, as for the tool.
    const store = createStore(parts, { keepLast: 100 })
    await store.persist({ blobs: { index: { source, ...chunkingOf(series) } } })
    await store.close()
  }
  const store = createStore(parts)
  for (const [i, expected] of series.generations.entries()) {
    const snapshot = (await store.load({ at: i + 1, required: true }))!
    if (Buffer.compare(await snapshot.blob('index').bytes(), expected) !== 0)
      throw new Error('holdfast gave other bytes back')
    await snapshot.dispose()
  }
  await store.close()
  return await weigh(prefix)
}

async function resticBytes({ generations }: EngineSeries): Promise<{ bytes: number; objects: number }> {
  const prefix = newPrefix()
  const repository = `s3:${serverEndpoint}/${BUCKET}/${prefix}`
  const home = mkdtempSync(join(tmpdir(), 'holdfast-restic-'))
  const file = join(home, 'save.bin')
  run('restic', ['-r', repository, 'init'], { home })
  for (const bytes of generations) {
    writeFileSync(file, bytes)
    run('restic', ['-r', repository, 'backup', file], { home })
  }
  run('restic', ['-r', repository, 'restore', 'latest', '--target', join(home, 'back')], { home })
  if (!readFileSync(join(home, 'back', file)).equals(generations.at(-1)!))
    throw new Error('restic gave other bytes back')
  rmSync(home, { recursive: true })
  return await weigh(prefix)
}

process.env.AWS_ACCESS_KEY_ID = CREDENTIALS.accessKeyId
process.env.AWS_SECRET_ACCESS_KEY = CREDENTIALS.secretAccessKey
if (!installed('restic')) throw new Error('restic is not installed')
await makeBucket()
const home = fileURLToPath(new URL('../../bench', import.meta.url))
const cache = join(home, 'results', 'cache')
mkdirSync(cache, { recursive: true })
const scratch = mkdtempSync(join(tmpdir(), 'holdfast-generations-'))
const context = { quick: false, scratch, cache, program: '', deadlineMs: Number.POSITIVE_INFINITY, home }
const { series, skipped } = await engineSeries(context)
console.log('| six saves of | holdfast | objects | restic | objects |\n|---|---|---|---|---|')
for (const each of series) {
  const [ours, theirs] = [await holdfastBytes(each), await resticBytes(each)]
  const text = ({ bytes, objects }: { bytes: number; objects: number }): string =>
    `${(bytes / MIB).toFixed(1)} MiB | ${objects}`
  console.log(`| ${each.name}, ${each.change} | ${text(ours)} | ${text(theirs)} |`)
}
for (const each of skipped) console.log(`skipped: ${each}`)
rmSync(scratch, { recursive: true })
process.exit()
