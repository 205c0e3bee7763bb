import { createRequire } from 'node:module'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { clock } from '../../../src/clock.ts'
import { isHoldfastError } from '../../../src/errors.ts'
import { nodeFileSystem } from '../../../src/fs/node.ts'
import { localScratch } from '../../../src/local/local.ts'
import { sdkClient } from '../../../src/s3/sdk-client.ts'
import type { ObjectClient } from '../../../src/storage/object/client.ts'
import { objectStorage } from '../../../src/storage/object/storage.ts'
import { createStore, type Store } from '../../../src/store.ts'
import { noise } from '../../support/bytes.ts'
import { effort, positions, randomFor } from '../../support/effort.ts'
import { BUCKET, CREDENTIALS, newPrefix, serverClient, serverEndpoint } from '../../support/s3-server.ts'
import { FAULTS, type Fault, type FaultProxy, startFaultProxy } from './fault-proxy.ts'

// Every request of an operation is spoiled in every way, one at a time, on a real server. `npm run test:s3` spoils one
// of five by chance.

const PART = 0.2
let spoiledInAll = 0

let proxy: FaultProxy
const sleep = clock.sleep

beforeAll(async () => {
  proxy = await startFaultProxy(serverEndpoint!)
  // Waits between tries are for busy servers.
  clock.sleep = () => sleep(2)
})
afterAll(async () => {
  clock.sleep = sleep
  await proxy.close()
})
afterAll(() => {
  // Of some 37 requests of all operations, in eleven ways.
  expect(spoiledInAll).toBeGreaterThan(400 * Math.max(effort, PART) * 0.5)
})

type MakeClient = (options: { endpoint: string; prefix: string }) => ObjectClient

/** Our client; and AWS's own, which tries again by itself or does not, where `npm run test:s3` could install it. */
const clients: [name: string, make: MakeClient, faults: number][] = [['our client', serverClient, FAULTS.length]]
const sdk = process.env.HOLDFAST_AWS_SDK
if (sdk !== undefined) {
  const { S3 } = createRequire(sdk)('@aws-sdk/client-s3')
  for (const maxAttempts of [1, 3]) {
    clients.push([
      `AWS's client, ${maxAttempts === 1 ? 'without tries of its own' : 'with its own tries'}`,
      ({ endpoint, prefix }) => {
        const settings = { credentials: CREDENTIALS, region: 'us-east-1', forcePathStyle: true, maxAttempts }
        return sdkClient(new S3({ ...settings, endpoint }), BUCKET, prefix)
      },
      effort === 1 ? FAULTS.length : 2,
    ])
  }
}

/**
 * A new store object of a new machine: nothing is cached. radosgw wants ETags without quotes; the probe is not asked
 * each time.
 */
function machine(prefix: string, endpoint = proxy.endpoint, client: MakeClient = serverClient): Store {
  const storage = objectStorage({ client: client({ endpoint, prefix }), trusted: 'unquoted' })
  return createStore(
    { storage, fs: nodeFileSystem, local: localScratch(nodeFileSystem), journal: null, storageAt: null },
    { keepLast: 4 },
  )
}

interface Operation {
  name: string
  /** On a store of its own each time. */
  isFirst?: boolean
  /** `message` is of the snapshot that it makes, if it makes one. */
  run(store: Store, round: number, message: string): Promise<unknown>
}

function blobsOf(generation: number): Record<string, Uint8Array> {
  return { index: noise(400_000, 1), changed: noise(2_000, generation) }
}

const operations: Operation[] = [
  {
    name: 'a first persist',
    isFirst: true,
    run: (store, round, message) => store.persist({ blobs: blobsOf(round), message }),
  },
  { name: 'a persist', run: (store, round, message) => store.persist({ blobs: blobsOf(100 + round), message }) },
  { name: 'a persist of nothing new', run: (store) => store.persist({ blobs: blobsOf(3) }) },
  { name: 'a tag', run: (store, round) => store.tag('x', { at: 1 + (round % 3) }) },
  {
    name: 'a rollback',
    run: async (store, _round, message) => {
      const [, before] = await store.snapshots()
      await store.rollback(before!.sequence, { message })
    },
  },
  {
    name: 'a load',
    async run(store) {
      const snapshot = (await store.load({ required: true }))!
      for (const [name, bytes] of Object.entries(blobsOf(3))) {
        expect(Buffer.compare(await snapshot.blob(name).bytes(), bytes)).toBe(0)
      }
      await snapshot.dispose()
    },
  },
]

/** A store with three snapshots. */
async function prepared(): Promise<string> {
  const prefix = newPrefix()
  const store = machine(prefix, serverEndpoint!)
  for (const generation of [1, 2, 3]) await store.persist({ blobs: blobsOf(generation) })
  await store.close()
  return prefix
}

const cases = clients.flatMap(([through, client, count]) =>
  operations.map((operation) => {
    const first = randomFor(`${operation.name}, ${through}`).below(FAULTS.length)
    const faults = FAULTS.map((_, i) => FAULTS[(first + i) % FAULTS.length]!).slice(0, count)
    return { ...operation, through, client, faults }
  }),
)

describe.each(cases)('$name, $through', ({ name, isFirst, run, through, client, faults }) => {
  test.each(faults)('%s', async (fault: Fault) => {
    let prefix = isFirst === true ? '' : await prepared()
    let spoiled = 0
    for (const at of positions(`spoiled: ${name}, ${fault}, ${through}`, PART)) {
      if (isFirst === true) prefix = newPrefix()
      const store = machine(prefix, proxy.endpoint, client)
      const message = `${fault}, request ${at}`
      proxy.spoil(fault, at)
      let outcome = 'done'
      try {
        await run(store, at, message)
      } catch (error) {
        if (!isHoldfastError(error, 'COMMIT_UNKNOWN', 'IO_FAILED')) throw error
        outcome = error.code
      }
      const isOver = proxy.count < at
      await store.close()
      await assertWell(prefix, message, outcome)
      if (isOver) break
      spoiled += 1
    }
    spoiledInAll += spoiled
    if (effort === 1) expect(spoiled).toBeGreaterThan(0)
    if (isFirst === true) return
    // The next one goes on.
    proxy.pass()
    expect(await machine(prefix).persist({ blobs: blobsOf(50) })).toMatchObject({ unchanged: false })
  })
})

/** What a machine on a good line sees afterwards. */
async function assertWell(prefix: string, message: string, outcome: string): Promise<void> {
  const store = machine(prefix, serverEndpoint!)
  const snapshots = await store.snapshots()
  const made = snapshots.filter((snapshot) => snapshot.message === message)
  expect(made.length, message).toBeLessThanOrEqual(1)
  if (outcome === 'IO_FAILED') expect(made, message).toEqual([])
  const snapshot = await store.load()
  for (const name of snapshot?.names ?? []) await snapshot!.blob(name).bytes()
  await snapshot?.dispose()
  await store.close()
}

test('an acknowledged persist is there', async () => {
  const prefix = newPrefix()
  proxy.spoil('drop the reply', 9)
  const { sequence } = await machine(prefix).persist({ blobs: blobsOf(1) })
  expect((await machine(prefix, serverEndpoint!).snapshots()).map((snapshot) => snapshot.sequence)).toContain(sequence)
})
