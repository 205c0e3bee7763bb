import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished } from 'vitest'

export const root = fileURLToPath(new URL('../..', import.meta.url))
const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: Record<string, string> }

/** Bundles an example as its npm script does, and answers the program that the script runs then. */
export function bundled(script: string): string {
  const [bundle, start] = scripts[script]!.split(' && ') as [string, string]
  const [, ...args] = bundle.split(' ')
  const bin = join(root, 'node_modules/esbuild/bin/esbuild')
  const { status, stderr } = spawnSync(bin, args, { cwd: root, encoding: 'utf8' })
  expect(stderr).toBe('')
  expect(status).toBe(0)
  const [node, program, ...rest] = start.split(' ')
  expect([node, rest]).toEqual(['node', []])
  return join(root, program!)
}

/** Runs a program to its end. */
export function run(program: string, args: readonly string[], env: Record<string, string> = {}): string {
  const { status, stdout, stderr } = spawnSync(process.execPath, [program, ...args], {
    cwd: root,
    encoding: 'utf8',
    env: { ...process.env, ...env },
  })
  expect(stderr).toBe('')
  expect(status).toBe(0)
  return stdout
}

export interface Server {
  url: string
  child: ChildProcess
  kill(signal: NodeJS.Signals): Promise<void>
}

/** Starts a server, and waits until it says where it listens. It is gone when the test ends. */
export async function serve(program: string, args: readonly string[]): Promise<Server> {
  const child = spawn(process.execPath, [program, ...args], { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] })
  const closed = once(child, 'close')
  async function kill(signal: NodeJS.Signals): Promise<void> {
    child.kill(signal)
    await closed
  }
  onTestFinished(() => kill('SIGKILL'))
  let errors = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    errors += text
  })
  for await (const line of createInterface({ input: child.stdout })) {
    const url = /^Listening on (\S+)$/.exec(line)?.[1]
    if (url !== undefined) return { url, child, kill }
  }
  throw new Error(`it ended before it listened: ${errors}`)
}
