import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

const script = fileURLToPath(new URL('child.mjs', import.meta.url))
const built = fileURLToPath(new URL('../dist/fs/node.js', import.meta.url))

/** A child of `child.mjs` that has done what it was told and holds on to it. */
export interface Child {
  process: ChildProcess
  /** What it made or locked. */
  path: string
  pid: number
  /** SIGKILL: no handler runs, nothing is cleaned up. */
  kill(): Promise<void>
}

/** Starts a child and waits for its line. */
export async function startChild(command: 'temp' | 'work' | 'lock' | 'busy' | 'count', path: string): Promise<Child> {
  if (!existsSync(built))
    throw new Error(`${built} is missing: children run from test/dist/, so "npm run build" comes first`)
  const child = spawn(process.execPath, [script, command, path], { stdio: ['pipe', 'pipe', 'inherit'] })
  const exited = once(child, 'exit')
  const lines = createInterface({ input: child.stdout })
  const first = once(lines, 'line') as Promise<[string]>
  const outcome = await Promise.race([first, exited.then(() => null)])
  if (outcome === null) throw new Error(`child "${command}" ended before it was ready`)
  const said = JSON.parse(outcome[0]) as { path: string; pid: number }
  return {
    process: child,
    ...said,
    async kill() {
      child.kill('SIGKILL')
      await exited
    },
  }
}
