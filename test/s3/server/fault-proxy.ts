// A proxy in front of the server that spoils one request: the one of a given number, in the order in which they come.
// The client signs for the proxy's own name, which is passed on, so signatures hold.

import { Agent, createServer, type IncomingMessage, request, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What is done to the request. */
export const FAULTS = [
  'delay',
  'drop the reply',
  'drop the request',
  'answer 500',
  'answer 503',
  'answer 409',
  'answer 412',
  '500 after it was done',
  'cut the body',
  'strip quotes of ETags',
  'serve the HEAD before',
] as const
export type Fault = (typeof FAULTS)[number]

export interface FaultProxy {
  endpoint: string
  /** Spoils request number `at`, counted from 1 from now on. */
  spoil(fault: Fault, at: number): void
  /** Spoils nothing, and counts from 1 from now on. */
  pass(): void
  /** Requests since. */
  readonly count: number
  close(): Promise<void>
}

interface Answer {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: Buffer
}

const DELAY_MS = 150

export async function startFaultProxy(target: string): Promise<FaultProxy> {
  const { hostname, port } = new URL(target)
  const agent = new Agent({ keepAlive: true })
  let count = 0
  let spoiled: { fault: Fault; at: number } | null = null
  /** Answers to reads of each HEAD, the last two. */
  const heads = new Map<string, Answer[]>()

  async function forward(incoming: IncomingMessage, body: Buffer): Promise<Answer> {
    return await new Promise((resolve, reject) => {
      const { method, url, headers } = incoming
      const outgoing = request({ agent, hostname, port, method, path: url, headers }, (response) => {
        const parts: Buffer[] = []
        response.on('data', (part: Buffer) => parts.push(part))
        response.on('end', () =>
          resolve({ status: response.statusCode!, headers: response.headers, body: Buffer.concat(parts) }),
        )
        response.on('error', reject)
      })
      outgoing.on('error', reject)
      outgoing.end(body)
    })
  }

  function noteHead({ method, url }: IncomingMessage, answer: Answer): void {
    if (method !== 'GET' || !url!.endsWith('/HEAD.json') || answer.status !== 200) return
    heads.set(url!, [...(heads.get(url!) ?? []), answer].slice(-3))
  }

  async function handle(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const number = ++count
    const parts: Buffer[] = []
    for await (const part of incoming) parts.push(part as Buffer)
    const body = Buffer.concat(parts)
    const fault = spoiled?.at === number ? spoiled.fault : null
    if (fault === 'drop the request') {
      incoming.socket.destroy()
      return
    }
    const refused = /^answer (\d+)$/.exec(fault ?? '')
    if (refused !== null) {
      outgoing.writeHead(Number(refused[1])).end('<Error><Code>Spoiled</Code></Error>')
      return
    }
    if (fault === 'delay') await new Promise((resolve) => setTimeout(resolve, DELAY_MS))
    if (fault === 'serve the HEAD before') {
      const before = heads.get(incoming.url!)?.[0]
      if (incoming.method === 'GET' && before !== undefined) {
        outgoing.writeHead(before.status, { etag: String(before.headers.etag) }).end(before.body)
        return
      }
    }
    const answer = await forward(incoming, body)
    noteHead(incoming, answer)
    if (fault === 'drop the reply') {
      incoming.socket.destroy()
      return
    }
    if (fault === '500 after it was done') {
      outgoing.writeHead(500).end('<Error><Code>InternalError</Code></Error>')
      return
    }
    const headers = { ...answer.headers }
    delete headers['transfer-encoding']
    if (fault === 'strip quotes of ETags' && typeof headers.etag === 'string')
      headers.etag = headers.etag.replaceAll('"', '')
    if (incoming.method !== 'HEAD') headers['content-length'] = String(answer.body.length)
    outgoing.writeHead(answer.status, headers)
    if (fault === 'cut the body' && answer.body.length > 0) {
      outgoing.write(answer.body.subarray(0, Math.floor(answer.body.length / 2)))
      setTimeout(() => incoming.socket.destroy(), 5)
    } else outgoing.end(answer.body)
  }

  const server = createServer((incoming, outgoing) => {
    handle(incoming, outgoing).catch(() => incoming.socket.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    endpoint: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    get count() {
      return count
    },
    spoil(fault, at) {
      count = 0
      spoiled = { fault, at }
    },
    pass() {
      count = 0
      spoiled = null
    },
    async close() {
      server.closeAllConnections()
      agent.destroy()
      await new Promise((resolve) => server.close(resolve))
    },
  }
}
