// Persist and restore in an object store, against plain PUT and GET of 16 MiB objects by the same client, eight in
// flight; and a restore against plain ranges with a latency of 30 ms put before each request. On a server of your own,
// with the keys of `npm run test:s3`:
//
//   HOLDFAST_S3_ENDPOINT=http://127.0.0.1:7490 node bench/object-store.mjs [MiB] [rounds]

import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { nodeFileSystem } from '../src/fs/node.ts'
import { localScratch } from '../src/local/local.ts'
import type { ObjectClient } from '../src/storage/object/client.ts'
import { objectStorage } from '../src/storage/object/storage.ts'
import { createStore, type Store } from '../src/store.ts'
import { makeBucket, newPrefix, serverClient } from '../test/support/s3-server.ts'

const MIB = 2 ** 20
const OBJECT_BYTES = 16 * MIB
const IN_FLIGHT = 8
const LATENCY_MS = 30

const total = Number(process.argv[2] ?? 256) * MIB
const rounds = Number(process.argv[3] ?? 3)
const data = randomBytes(total)
const objects = Array.from({ length: total / OBJECT_BYTES }, (_, i) => i)

function storeOn(client: ObjectClient): Store {
  const storage = objectStorage({ client, trusted: 'unquoted' })
  return createStore({
    storage,
    fs: nodeFileSystem,
    local: localScratch(nodeFileSystem),
    journal: null,
    storageAt: null,
  })
}

/** Each request begins later. */
function delayed(client: ObjectClient): ObjectClient {
  const { get, head, list } = client
  return {
    ...client,
    get: async (...args) => sleep(LATENCY_MS).then(() => get(...args)),
    head: async (key) => sleep(LATENCY_MS).then(() => head(key)),
    list: async (...args) => sleep(LATENCY_MS).then(() => list(...args)),
  }
}

async function inFlight<T>(items: readonly T[], count: number, work: (item: T) => Promise<unknown>): Promise<void> {
  const left = [...items]
  const lane = async (): Promise<void> => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item)
  }
  await Promise.all(Array.from({ length: count }, lane))
}

const times = new Map<string, { seconds: number; cpuSeconds: number }[]>()
async function timed(name: string, work: () => Promise<unknown>): Promise<void> {
  const begun = performance.now()
  const cpu = process.cpuUsage()
  await work()
  const seconds = (performance.now() - begun) / 1000
  const { user, system } = process.cpuUsage(cpu)
  times.set(name, [...(times.get(name) ?? []), { seconds, cpuSeconds: (user + system) / 1e6 }])
}

function median(numbers: readonly number[]): number {
  return [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)]!
}

async function restore(client: ObjectClient, how: 'bytes' | 'stream'): Promise<void> {
  const store = storeOn(client)
  const snapshot = (await store.load({ required: true }))!
  const blob = snapshot.blob('data')
  if (how === 'bytes') await blob.bytes()
  else for await (const _part of blob.stream());
  await snapshot.dispose()
  await store.close()
}

await makeBucket()
for (let round = 0; round < rounds; round++) {
  const plain = serverClient({ prefix: newPrefix() })
  const client = serverClient({ prefix: newPrefix() })
  const part = (i: number): Uint8Array => data.subarray(i * OBJECT_BYTES, (i + 1) * OBJECT_BYTES)
  await timed('plain PUT', () => inFlight(objects, IN_FLIGHT, (i) => plain.put(`object ${i}`, part(i))))
  await timed('persist', async () => {
    const store = storeOn(client)
    await store.persist({ blobs: { data } })
    await store.close()
  })
  await timed('plain GET', () => inFlight(objects, IN_FLIGHT, (i) => plain.get(`object ${i}`)))
  await timed('restore, bytes()', () => restore(client, 'bytes'))
  await timed('restore, stream()', () => restore(client, 'stream'))
  await timed('plain GET, 30 ms', () => inFlight(objects, IN_FLIGHT, (i) => delayed(plain).get(`object ${i}`)))
  await timed('restore, bytes(), 30 ms', () => restore(delayed(client), 'bytes'))
  await timed('restore, stream(), 30 ms', () => restore(delayed(client), 'stream'))
  for (const each of [plain, client]) {
    for (let next: string | undefined; ; ) {
      const listed = await each.list('', next)
      await inFlight(listed.objects, IN_FLIGHT, ({ key }) => each.delete(key))
      if (listed.next === null) break
      next = listed.next
    }
  }
}
console.log(`| ${total / MIB} MiB, median of ${rounds} | MiB/s | CPU s for 1 GiB, all threads |\n|---|---|---|`)
for (const [name, all] of times) {
  const speed = total / MIB / median(all.map(({ seconds }) => seconds))
  const cpu = (median(all.map(({ cpuSeconds }) => cpuSeconds)) * 1024 * MIB) / total
  console.log(`| ${name} | ${Math.round(speed)} | ${cpu.toFixed(1)} |`)
}
process.exit()
