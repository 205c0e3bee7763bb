import { writeSync } from 'node:fs'
import { openEngine } from 'holdfast/engines/live'
import { collectDocuments, type Document } from './documents.ts'
import { buildText, textAdapter } from './engine.ts'

// The process that is killed while it changes a live engine: it adds one document after another, several at a time, and
// says each one that was acknowledged.

/** What it says, a line of JSON each. */
export type LiveSaid =
  | { step: 'opened'; documents: number; replayed: number; ms: number }
  | { step: 'acknowledged'; id: number; ms: number }

/** Changes under way at a time. */
export const UNDER_WAY = 8

function say(said: LiveSaid): void {
  writeSync(1, `${JSON.stringify(said)}\n`)
}

const [directory, nodeModules] = process.argv.slice(2) as [string, string]
const { documents } = collectDocuments(nodeModules)

const startMs = performance.now()
await using live = await openEngine(directory, textAdapter, {
  create: () => buildText([]),
  apply: (text, document: Document) => void text.add(document),
})
const { engine } = live
say({
  step: 'opened',
  documents: engine.documentCount,
  replayed: live.replayed.entries,
  ms: performance.now() - startMs,
})

async function addNext(): Promise<void> {
  for (;;) {
    // What was applied counts, so that nobody else takes the same one.
    const document = documents[engine.documentCount]
    if (document === undefined) return
    const beganMs = performance.now()
    await live.change(document)
    say({ step: 'acknowledged', id: document.id, ms: performance.now() - beganMs })
  }
}

await Promise.all(Array.from({ length: UNDER_WAY }, addNext))
