import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { openEngine } from 'holdfast/engines/live'
import type MiniSearch from 'minisearch'
import type { Document } from './documents.ts'
import { buildText, textAdapter } from './engine.ts'
import type { LiveSaid } from './live-writer.ts'
import * as say from './print.ts'

// The chapter about the journal: every change is durable when it is acknowledged, without a snapshot for each.

/** It is killed when it has acknowledged so many. */
const kills = [500, 1000, 1500]

/** Kills a process that changes a live engine, again and again, and looks whether what it acknowledged is there. */
export async function acknowledgeChanges(
  directory: string,
  nodeModules: string,
  documents: readonly Document[],
): Promise<void> {
  say.heading('Acknowledge each change')
  say.tell(
    'Another index grows by a document at a time. Between snapshots, a journal keeps the changes: `change` resolves when its',
    'change survives a power loss. The process gets SIGKILL, and the next one goes on from what is there.',
  )
  const path = join(directory, 'live')
  const rows: string[][] = []
  const times: number[] = []
  let found = 0
  let acknowledged = 0
  for (const after of kills) {
    const life = await killAfter(path, nodeModules, Math.min(after, Math.floor(documents.length / 3)))
    const { documents: there } = life.opened
    say.claim(
      rows.length === 0 ? there === 0 : there >= found + acknowledged,
      rows.length === 0 ? 'it begins with an empty index' : `the next process has all ${say.number(there)}`,
    )
    found = there
    acknowledged = life.times.length
    times.push(...life.times)
    rows.push([
      say.number(found),
      say.duration(life.opened.ms),
      say.number(life.opened.replayed),
      say.number(acknowledged),
    ])
  }

  const startMs = performance.now()
  await using live = await openEngine(path, textAdapter, {
    create: () => buildText([]),
    apply: (text, document: Document) => void text.add(document),
    lockWaitMs: 10_000,
  })
  const openMs = performance.now() - startMs
  const count = live.engine.documentCount
  rows.push([say.number(count), say.duration(openMs), say.number(live.replayed.entries), ''])
  say.table(rows, ['documents at the start', 'opened in', 'replayed', 'acknowledged before SIGKILL'])
  times.sort((a, b) => a - b)
  say.tell(
    `A change was acknowledged after ${ms(times[times.length >> 1]!)}; 99 of 100 within ${ms(times[Math.floor(times.length * 0.99)]!)}.`,
  )
  say.claim(count >= found + acknowledged, `killed ${kills.length} times, and no acknowledged change was lost`)
  say.claim(
    same(live.engine, buildText(documents.slice(0, count))),
    'none was applied twice: it answers as an index of these documents that was never killed, score for score',
  )
}

interface Life {
  opened: Extract<LiveSaid, { step: 'opened' }>
  /** How long each acknowledged change took, in ms. */
  times: number[]
}

async function killAfter(path: string, nodeModules: string, changes: number): Promise<Life> {
  const writer = join(import.meta.dirname, 'live-writer.js')
  const child = spawn(process.execPath, [writer, path, nodeModules], { stdio: ['ignore', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  let opened: Life['opened'] | undefined
  const times: number[] = []
  for await (const line of createInterface({ input: child.stdout })) {
    // What it said before it died counts, also what is read after the kill.
    const said = parse(line)
    if (said === null) break
    if (said.step === 'opened') opened = said
    else times.push(said.ms)
    if (times.length === changes) child.kill('SIGKILL')
  }
  const [code, signal] = (await exited) as [number | null, string | null]
  if (signal !== 'SIGKILL' || opened === undefined)
    throw new Error(`the process ended by itself, with ${code ?? signal}`)
  return { opened, times }
}

/** Null for a last line that was cut in half. */
function parse(line: string): LiveSaid | null {
  try {
    return JSON.parse(line) as LiveSaid
  } catch {
    return null
  }
}

function same(one: MiniSearch<Document>, other: MiniSearch<Document>): boolean {
  if (one.documentCount !== other.documentCount) return false
  return ['write a file atomically', 'schema validation error', 'lock', 'promise iterator stream'].every((query) => {
    const [found, expected] = [one, other].map((text) =>
      JSON.stringify(
        text
          .search(query)
          .map(({ id, score }) => [id, score])
          .sort((a, b) => a[0] - b[0]),
      ),
    )
    return found === expected
  })
}

function ms(value: number): string {
  return `${value.toFixed(1)} ms`
}
