import { appendFileSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import MiniSearch from 'minisearch'
import { expect, test } from 'vitest'
import { restoreEngine } from '../../src/engines/adapter.ts'
import { minisearch } from '../../src/engines/minisearch.ts'
import { scratch } from '../support/scratch.ts'
import { bundled, type Server, serve } from './example.ts'

interface Health {
  documents: number
  indexed: number
  saved: number
  started: { at: number; replayed: number }
}

interface Writer {
  name: string
  writes: number
  /** By document: the word of its text that was acknowledged last, and of one that may be there instead. */
  acknowledged: Map<string, string>
  underway: { id: string; word: string } | null
}

const WRITERS = 6
const KILLS = 4
const options = { fields: ['title', 'text'], storeFields: ['title'] }

async function get<T>({ url }: Server, path: string): Promise<T> {
  return (await (await fetch(`${url}${path}`)).json()) as T
}

async function put({ url }: Server, id: string, text: string): Promise<number> {
  const body = JSON.stringify({ title: id, text })
  const response = await fetch(`${url}/documents/${id}`, { method: 'PUT', body })
  expect(response.status).toBe(200)
  return ((await response.json()) as { sequence: number }).sequence
}

/** Writes one document after the other, old ones among them, until the server is gone. */
async function write(server: Server, writer: Writer): Promise<void> {
  try {
    for (;;) {
      writer.writes += 1
      const id = `${writer.name}-${writer.writes % 40}`
      const word = `${writer.name}word${writer.writes}`
      writer.underway = { id, word }
      await put(server, id, `this is ${word} of the rest`)
      writer.acknowledged.set(id, word)
      writer.underway = null
    }
  } catch (error) {
    // Any failure but that of a connection is one of the test.
    if (!(error instanceof TypeError)) throw error
  }
}

async function expectAll(server: Server, writers: readonly Writer[]): Promise<void> {
  const found = async (word: string): Promise<string[]> =>
    (await get<{ hits: { id: string }[] }>(server, `/search?q=${word}`)).hits.map(({ id }) => id)
  const check = async ({ acknowledged, underway }: Writer): Promise<void> => {
    for (const [id, word] of acknowledged) {
      const words = underway?.id === id ? [word, underway.word] : [word]
      const hits = (await Promise.all(words.map(found))).flat()
      expect([word, hits]).toEqual([word, [id]])
    }
    // What was underway at the kill is there or not; from here on, it is known.
    if (underway !== null && (await found(underway.word)).length > 0) acknowledged.set(underway.id, underway.word)
  }
  await Promise.all(writers.map(check))
}

test('a server that is killed under load, again and again, keeps all that it acknowledged', async () => {
  const program = bundled('example:server')
  const data = join(scratch(), 'data')
  const start = (): Promise<Server> => serve(program, ['--data', data, '--port', '0', '--save-every-ms', '100'])
  const writers = Array.from({ length: WRITERS }, (_, n): Writer => {
    return { name: `writer${n}`, writes: 0, acknowledged: new Map(), underway: null }
  })
  let saved = 0
  for (let n = 0; n < KILLS; n++) {
    const server = await start()
    const { started } = await get<Health>(server, '/health')
    expect(started.at).toBeGreaterThanOrEqual(saved)
    expect(started.replayed).toBeLessThanOrEqual(started.at - saved)
    await expectAll(server, writers)

    const load = writers.map((writer) => write(server, writer))
    const before = saved
    // A kill before anything was saved would show little; after that, at any moment.
    while (saved <= before) {
      await setTimeout(20)
      saved = (await get<Health>(server, '/health')).saved
    }
    await setTimeout(Math.random() * 300)
    saved = (await get<Health>(server, '/health')).saved
    await server.kill('SIGKILL')
    await Promise.all(load)
  }

  // The snapshot by itself has what it says that it covers.
  const restored = await restoreEngine(data, minisearch(MiniSearch, options), { readOnly: true })
  expect(restored!.snapshot.covers).toBeGreaterThanOrEqual(saved)
  await restored!.dispose()

  // A batch cut short by a crash is not a change.
  const segments = readdirSync(join(data, 'journal')).sort()
  appendFileSync(join(data, 'journal', segments.at(-1)!), 'half of a batch')
  const last = await start()
  await expectAll(last, writers)
  const sequence = await put(last, 'after', 'the end')
  expect(sequence).toBe((await get<Health>(last, '/health')).indexed)
  await last.kill('SIGTERM')
  const again = await start()
  expect((await get<Health>(again, '/health')).started).toEqual({ at: sequence, replayed: 0 })
  expect((await get<{ hits: object[] }>(again, '/search?q=end')).hits).toMatchObject([{ id: 'after' }])
})

test('what the server does not understand it refuses', async () => {
  const server = await serve(bundled('example:server'), ['--data', join(scratch(), 'data'), '--port', '0'])
  const status = async (path: string, init?: RequestInit): Promise<number> =>
    (await fetch(`${server.url}${path}`, init)).status
  expect(await status('/documents/1', { method: 'PUT', body: '{"title": 1}' })).toBe(400)
  expect(await status('/documents/1', { method: 'PUT', body: 'no' })).toBe(400)
  expect(await status('/documents/1')).toBe(404)
  expect(await status('/documents/1', { method: 'PUT', body: '{"title": "a", "text": "kelp"}' })).toBe(200)
  expect(await status('/documents/1', { method: 'DELETE' })).toBe(200)
  expect(await get(server, '/search?q=kelp')).toEqual({ hits: [] })
  expect(await get(server, '/health')).toMatchObject({ documents: 0, indexed: 2 })
})
