import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { cached, openStore } from 'holdfast'
import { followEngine, type RestoredEngine } from 'holdfast/engines'
import { minisearch } from 'holdfast/engines/minisearch'
import { s3 } from 'holdfast/s3'
import MiniSearch from 'minisearch'

// Serves searches of an index that another machine builds and persists. A newer index takes the place of the one that
// is served, between two searches: none waits, and none fails.
//
//   AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… npm run example:follower -- --bucket search --prefix products

const { values } = parseArgs({
  options: {
    bucket: { type: 'string' },
    prefix: { type: 'string', default: '' },
    store: { type: 'string', default: join(tmpdir(), 'holdfast-full-text-server') },
    cache: { type: 'string', default: join(tmpdir(), 'holdfast-follower-cache') },
    port: { type: 'string', default: '0' },
    'every-ms': { type: 'string', default: '1000' },
  },
})
const { bucket, prefix } = values
// Without a bucket: the store of a builder on this machine.
const place =
  bucket === undefined ? values.store : cached(s3({ bucket, prefix }), { directory: values.cache, maxBytes: 1e9 })
const store = await openStore(place, { readOnly: true })

/** What is served: an index, and the searches that are in it. */
interface Serving {
  restored: RestoredEngine<MiniSearch>
  searches: number
  done: (() => void) | null
}
let serving: Serving | null = null

async function search(query: string): Promise<object> {
  const mine = serving!
  mine.searches += 1
  try {
    // A real server awaits something in between; the index that the search began with stays until it is done.
    await new Promise((resolve) => setImmediate(resolve))
    const { engine, snapshot } = mine.restored
    const found = engine.search(query).map(({ id, score }) => ({ id, score }))
    return { snapshot: snapshot.sequence, documents: engine.documentCount, found }
  } finally {
    mine.searches -= 1
    if (mine.searches === 0) mine.done?.()
  }
}

const server = createServer(async (request, response) => {
  try {
    const { pathname, searchParams } = new URL(request.url!, 'http://localhost')
    if (pathname !== '/search') response.statusCode = 404
    else if (serving === null) response.statusCode = 503
    else response.write(JSON.stringify(await search(searchParams.get('q') ?? '')))
  } catch (error) {
    response.statusCode = 500
    response.write(String(error))
  }
  response.end()
})

const stop = new AbortController()
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => stop.abort())

const indexOptions = { fields: ['title', 'text'], storeFields: ['title'] }

await followEngine(store, minisearch(MiniSearch, indexOptions), {
  everyMs: Number(values['every-ms']),
  signal: stop.signal,
  async swap(restored) {
    const before = serving
    serving = { restored, searches: 0, done: null }
    if (before === null) {
      server.listen(Number(values.port), '127.0.0.1', () => {
        console.log(`Listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
      })
      return
    }
    // Searches that began in the old index end there.
    if (before.searches > 0) await new Promise<void>((resolve) => Object.assign(before, { done: resolve }))
    await before.restored.dispose()
  },
  onError: (error) => console.error('The old index stays:', error),
})
server.close()
server.closeAllConnections()
await store.close()
