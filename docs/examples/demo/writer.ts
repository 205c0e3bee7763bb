import { writeSync } from 'node:fs'
import { openStore } from 'holdfast'
import { persistEngine, restoreEngine } from 'holdfast/engines'
import { answers, engineAdapter, revise } from './engine.ts'
import { loadVectors } from './vectors.ts'

// The process that is killed: restores the engine, revises it, persists it, and says on stdout how far it has come.
// Lines are written at once (a stream would keep them back), so that what was said before the kill was said.

/** What a writer says, a line of JSON each. */
export type Said =
  | { step: 'restored'; sequence: number; answers: string }
  | { step: 'persisting'; generation: number; answers: string }
  | { step: 'reading'; blob: string; bytes: number }
  | { step: 'committing' }
  | { step: 'acknowledged'; sequence: number; durationMs: number }

function say(said: Said): void {
  writeSync(1, `${JSON.stringify(said)}\n`)
}

const [directory, nodeModules] = process.argv.slice(2) as [string, string]
const loaded = loadVectors(nodeModules, { install: false })
const adapter = engineAdapter('missing' in loaded ? null : loaded)

await using store = await openStore(directory)
const restored = (await restoreEngine(store, adapter, { required: true }))!
const { engine, snapshot } = restored
await restored.dispose()
say({ step: 'restored', sequence: snapshot.sequence, answers: answers(engine) })

revise(engine)
say({ step: 'persisting', generation: engine.generation, answers: answers(engine) })
const startMs = performance.now()
const saved = await persistEngine(store, adapter, engine, {
  onProgress(progress) {
    if (progress.phase === 'reading') say({ step: 'reading', blob: progress.blob, bytes: progress.bytes })
    if (progress.phase === 'committing') say({ step: 'committing' })
  },
})
say({ step: 'acknowledged', sequence: saved.sequence, durationMs: performance.now() - startMs })
