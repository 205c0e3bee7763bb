import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const script = fileURLToPath(new URL('child.mjs', import.meta.url))
const built = fileURLToPath(new URL('../../dist/durable.js', import.meta.url))

export interface Child {
  /** SIGKILL: no handler runs, nothing is cleaned up. */
  kill(): Promise<void>
  /** Lets it finish what it waits in, and end. */
  finish(): Promise<void>
  ended: Promise<number | null>
}

/** Starts a child of `child.mjs` and waits until it is in the middle of its work. */
export async function startChild(command: 'stream' | 'save' | 'overwrite', path: string, count = 0): Promise<Child> {
  if (!existsSync(built))
    throw new Error(`${built} is missing: children run from dist/, so "npm run build" comes first`)
  const child = spawn(process.execPath, [script, command, path, String(count)], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'exit').then(([code]) => code as number | null)
  onTestFinished(() => void child.kill('SIGKILL'))
  const first = once(createInterface({ input: child.stdout }), 'line')
  const outcome = await Promise.race([first, ended.then(() => null)])
  if (outcome === null) throw new Error(`child "${command}" ended before it was ready`)
  return {
    ended,
    async kill() {
      child.kill('SIGKILL')
      await ended
    },
    async finish() {
      child.stdin.write('\n')
      await ended
    },
  }
}
