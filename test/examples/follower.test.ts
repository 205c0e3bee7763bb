import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import MiniSearch from 'minisearch'
import { expect, onTestFinished, test } from 'vitest'
import { persistEngine } from '../../src/engines/adapter.ts'
import { minisearch } from '../../src/engines/minisearch.ts'
import { openStore } from '../../src/open.ts'
import { s3 } from '../../src/s3/s3.ts'
import { httpObjects } from '../support/s3-http.ts'
import { scratch } from '../support/scratch.ts'
import { bundled, root } from './example.ts'

const LANES = 6
const GENERATIONS = 5
const options = { fields: ['title', 'text'], storeFields: ['title'] }

test('the follower swaps newer indexes in under load, and no query fails', async () => {
  const server = await httpObjects()
  const credentials = { accessKeyId: 'testaccess', secretAccessKey: 'x' }
  const place = s3({ bucket: 'bucket', prefix: 'search', endpoint: server.endpoint, credentials })
  const builder = await openStore(place)
  onTestFinished(() => builder.close())
  const index = new MiniSearch(options)
  async function grow(generation: number): Promise<void> {
    for (let i = 0; i < 200; i++) {
      index.add({ id: `${generation}-${i}`, title: `generation ${generation}`, text: `kelp number ${i}` })
    }
    await persistEngine(builder, minisearch(MiniSearch, options), index)
  }
  await grow(1)

  const program = bundled('example:follower')
  const args = ['--bucket', 'bucket', '--prefix', 'search', '--cache', scratch(), '--every-ms', '20']
  const child = spawn(process.execPath, [program, ...args], {
    cwd: root,
    env: { ...process.env, ...server.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => void child.kill('SIGKILL'))
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string]
  const url = /^Listening on (\S+)$/.exec(line)![1]!

  const seen = new Set<number>()
  let queries = 0
  let isOver = false
  const lanes = Array.from({ length: LANES }, async () => {
    let newest = 0
    while (!isOver) {
      const response = await fetch(`${url}/search?q=kelp`)
      expect(response.status).toBe(200)
      const { snapshot, documents, found } = (await response.json()) as {
        snapshot: number
        documents: number
        found: unknown[]
      }
      // One moment of the index, whole, and never an older one than before.
      expect([documents, found.length]).toEqual([200 * snapshot, 200 * snapshot])
      expect(snapshot).toBeGreaterThanOrEqual(newest)
      newest = snapshot
      seen.add(snapshot)
      queries += 1
    }
  })
  const load = Promise.all(lanes)
  for (let generation = 2; generation <= GENERATIONS; generation++) {
    await grow(generation)
    while (!seen.has(generation)) await Promise.race([sleep(10), load])
  }
  isOver = true
  await load
  expect([...seen].sort()).toEqual([1, 2, 3, 4, 5])
  expect(queries).toBeGreaterThan(20)
  child.kill('SIGTERM')
  expect(await once(child, 'close')).toEqual([0, null])
  expect(errors).toBe('')
}, 120_000)
