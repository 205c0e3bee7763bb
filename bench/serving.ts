// A search server at work: what a search over HTTP takes while autosave saves the index every few seconds, and while
// nothing is saved.

import { spawn } from 'node:child_process'
import { Agent, createServer, get, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import MiniSearch from 'minisearch'
import { type Autosave, autosave } from '../src/engines/autosave.ts'
import { minisearch } from '../src/engines/minisearch.ts'
import { pickWord, random, vocabulary } from './data.ts'
import type { Context } from './group.ts'
import { log } from './measure.ts'
import type { GroupResult } from './result.ts'

interface Document {
  id: number
  text: string
}

const OPTIONS = { fields: ['text'] }
const WORDS_EACH = 40
const SEARCHES_PER_SECOND = 150
/** One document is replaced so often, in both halves of a round. */
const CHANGE_MS = 100
const SAVE_MS = 3_000
const WORDS = 20_000

export interface ServeInput {
  store: string
  documents: number
}

/** The server, in a process of its own. It prints its port, and ends when its standard input does. */
export async function serve({ store, documents }: ServeInput): Promise<void> {
  const words = vocabulary(WORDS)
  const next = random(9)
  const documentOf = (id: number): Document => ({
    id,
    text: Array.from({ length: WORDS_EACH }, () => pickWord(words, next)).join(' '),
  })
  const engine = new MiniSearch<Document>(OPTIONS)
  engine.addAll(Array.from({ length: documents }, (_, id) => documentOf(id)))
  let saver: Autosave | null = null
  let saves = 0
  let at = 0
  const changing = setInterval(() => {
    const id = at++ % documents
    engine.discard(id)
    engine.add(documentOf(id))
    saver?.changed()
  }, CHANGE_MS)
  const options = { everyMs: SAVE_MS, quietMs: 0, onSave: () => (saves += 1) }
  const answer: Record<string, (query: string) => unknown> = {
    search: (query) => engine.search(query).slice(0, 10),
    async start() {
      saver = autosave(store, minisearch(MiniSearch<Document>, OPTIONS), engine, options)
      saver.changed()
      await saver.flush()
      saves = 0
    },
    async stop() {
      const made = saves
      await saver?.close()
      saver = null
      return made
    },
  }
  const server = createServer((request, response) => {
    const { pathname, searchParams } = new URL(request.url!, 'http://localhost')
    Promise.resolve(answer[pathname.slice(1)]!(searchParams.get('q') ?? '')).then((value) =>
      response.end(JSON.stringify(value ?? null)),
    )
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  process.stdout.write(`${(server.address() as AddressInfo).port}\n`)
  process.stdin.resume()
  await new Promise((resolve) => process.stdin.once('end', resolve))
  clearInterval(changing)
  server.closeAllConnections()
  server.close()
}

export async function serving(context: Context): Promise<GroupResult> {
  const documents = context.quick ? 2_000 : 20_000
  const rounds = context.quick ? 1 : 5
  const runMs = context.quick ? 4_000 : 15_000
  const input: ServeInput = { store: join(context.scratch, 'served'), documents }
  const child = spawn(process.execPath, [context.program, '--task', 'serve', JSON.stringify(input)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const ended = new Promise((resolve) => child.once('exit', resolve))
  try {
    const port = Number((await createInterface(child.stdout)[Symbol.asyncIterator]().next()).value)
    const agent = new Agent({ keepAlive: true })
    const ask = (path: string): Promise<unknown> => fetchJson(port, path, agent)
    const words = vocabulary(WORDS)
    const next = random(3)
    const search = (): Promise<unknown> => ask(`/search?q=${encodeURIComponent(pickWord(words, next))}`)
    // What has not run before is slow.
    await load(search, runMs / 3)
    const times = { without: [] as number[], with: [] as number[] }
    const ratios: number[] = []
    let saves = 0
    for (let round = 0; round < rounds; round++) {
      const without = await load(search, runMs)
      await ask('/start')
      const beside = await load(search, runMs)
      saves += (await ask('/stop')) as number
      times.without.push(...without)
      times.with.push(...beside)
      ratios.push(quantile(beside, 0.99) / quantile(without, 0.99))
    }
    const ratio = quantile(ratios, 0.5)
    const range = `${Math.min(...ratios).toFixed(2)} to ${Math.max(...ratios).toFixed(2)}`
    const told = (kind: 'without' | 'with'): string =>
      `p50 ${quantile(times[kind], 0.5).toFixed(1)} ms, p99 ${quantile(times[kind], 0.99).toFixed(1)} ms, longest ${Math.max(...times[kind]).toFixed(0)} ms`
    log(`search server: p99 ${ratio.toFixed(2)}x (${range}); with saves: ${told('with')}; without: ${told('without')}`)
    return {
      facts: [
        {
          id: 'serving-p99',
          what: `p99 of a search over HTTP beside autosave, in times of that without: MiniSearch of ${documents.toLocaleString('en')} documents`,
          value: ratio,
          unit: 'x',
          target: 1.5,
          detail:
            `median of ${rounds} rounds, ${range}; with ${saves} saves in ${(rounds * runMs) / 1000} s: ${told('with')}; without: ${told('without')}; ` +
            `${SEARCHES_PER_SECOND} searches and ${1000 / CHANGE_MS} changes a second, timed from when they were due`,
        },
      ],
    }
  } finally {
    child.stdin.end()
    await ended
  }
}

/**
 * Searches at a steady rate, whether earlier ones were answered or not. How long each took from when it was due, in ms.
 */
async function load(search: () => Promise<unknown>, runMs: number): Promise<number[]> {
  const startMs = performance.now()
  const count = Math.round((runMs / 1000) * SEARCHES_PER_SECOND)
  const times: Promise<number>[] = []
  for (let n = 0; n < count; n++) {
    const dueMs = startMs + (n * 1000) / SEARCHES_PER_SECOND
    if (dueMs > performance.now()) await sleep(dueMs - performance.now())
    times.push(search().then(() => performance.now() - dueMs))
  }
  return await Promise.all(times)
}

async function fetchJson(port: number, path: string, agent: Agent): Promise<unknown> {
  const response = await new Promise<IncomingMessage>((resolve, reject) =>
    get({ host: '127.0.0.1', port, path, agent }, resolve).on('error', reject),
  )
  let text = ''
  for await (const part of response.setEncoding('utf8')) text += part
  return JSON.parse(text)
}

function quantile(values: readonly number[], at: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * at))]!
}
