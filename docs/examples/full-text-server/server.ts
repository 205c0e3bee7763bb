import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { openEngine } from 'holdfast/engines/live'
import { minisearch } from 'holdfast/engines/minisearch'
import MiniSearch from 'minisearch'

// A full-text search server that loses nothing when it is killed. The index is in memory. A document is acknowledged
// when it is in the journal, on the disk, and a snapshot of the index is saved in the background. A start restores the
// snapshot and replays the journal from there on: seconds of changes, not all there ever were.

interface Document {
  id: string
  title: string
  text: string
}

type Change = { put: Document } | { delete: string }

const { values } = parseArgs({
  options: {
    data: { type: 'string', default: join(tmpdir(), 'holdfast-full-text-server') },
    port: { type: 'string', default: '8080' },
    'save-every-ms': { type: 'string', default: '5000' },
  },
})

// ---- the start

const indexOptions = { fields: ['title', 'text'], storeFields: ['title'] }
const everyMs = Number(values['save-every-ms'])

const live = await openEngine(values.data, minisearch(MiniSearch<Document>, indexOptions), {
  create: () => new MiniSearch<Document>(indexOptions),
  apply(engine, change: Change) {
    if ('put' in change) {
      if (engine.has(change.put.id)) engine.replace(change.put)
      else engine.add(change.put)
    } else if (engine.has(change.delete)) {
      engine.discard(change.delete)
    }
  },
  // The server before this one may still be ending.
  lockWaitMs: 10_000,
  everyMs,
  // Under load no moment is quiet.
  quietLimitMs: everyMs,
  onError: (error) => console.error('The index was not saved:', error),
})
const { engine } = live
const started = { at: live.last, replayed: live.replayed.entries }

for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    live.close().then(
      () => process.exit(0),
      (error) => {
        console.error('The index was not saved:', error)
        process.exit(1)
      },
    )
  })
}

// ---- the server

const BODY_BYTES_MAX = 1_000_000

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  const id = /^\/documents\/([^/]+)$/.exec(pathname)?.[1]
  if (request.method === 'PUT' && id !== undefined) {
    const document = documentOf(decodeURIComponent(id), await bodyOf(request))
    if (document === null) send(response, 400, { error: 'the body is {"title": "…", "text": "…"}' })
    else await acknowledge(response, { put: document })
  } else if (request.method === 'DELETE' && id !== undefined) {
    await acknowledge(response, { delete: decodeURIComponent(id) })
  } else if (request.method === 'GET' && pathname === '/search') {
    const hits = engine.search(searchParams.get('q') ?? '').slice(0, 10)
    send(response, 200, { hits: hits.map(({ id, title, score }) => ({ id, title, score })) })
  } else if (request.method === 'GET' && pathname === '/health') {
    const { error, journalError, ...lag } = live.lag()
    const failure = journalError ?? error
    // What the newest snapshot has; a crash now replays the rest.
    const saved = live.last - lag.entries
    const health = { documents: engine.documentCount, indexed: live.last, saved, started, lag }
    send(response, failure === null ? 200 : 503, failure === null ? health : { ...health, error: String(failure) })
  } else {
    send(response, 404, { error: 'PUT or DELETE /documents/:id, GET /search?q=…, GET /health' })
  }
}

async function acknowledge(response: ServerResponse, change: Change): Promise<void> {
  send(response, 200, await live.change(change))
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = []
  let bytes = 0
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length
    if (bytes > BODY_BYTES_MAX) return ''
    parts.push(part)
  }
  return Buffer.concat(parts).toString()
}

function documentOf(id: string, body: string): Document | null {
  try {
    const { title, text } = JSON.parse(body) as Document
    return typeof title === 'string' && typeof text === 'string' ? { id, title, text } : null
  } catch {
    return null
  }
}

function send(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(`${JSON.stringify(body)}\n`)
}

const server = createServer((request, response) => {
  answer(request, response).catch((error) => {
    console.error(error)
    if (!response.headersSent) send(response, 500, { error: String(error) })
  })
})
server.listen(Number(values.port))
await once(server, 'listening')

const url = `http://localhost:${(server.address() as AddressInfo).port}`
console.log(`Data in ${values.data}: ${started.at} changes, of which ${started.replayed} were replayed,`)
console.log(`${engine.documentCount} documents. Kill it as you like (kill -9 ${process.pid}) and start it again.

  curl -X PUT ${url}/documents/kelp -d '{"title": "Kelp", "text": "holds fast to the rock"}'
  curl '${url}/search?q=rock'
  curl ${url}/health

Listening on ${url}`)
