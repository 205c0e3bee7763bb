import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const built = fileURLToPath(new URL('../../dist/index.js', import.meta.url))

/** Another process that runs a `.mjs` file, and speaks with the test line by line. */
export interface Child {
  pid: number
  say(line: string): void
  /** The next line it says; rejects when it ends without one. */
  hear(): Promise<string>
  /** All it has said that was not heard yet. Complete once it has ended. */
  said(): string[]
  signal(signal: NodeJS.Signals): void
  /** SIGKILL, and waits for its end. */
  kill(): Promise<void>
  /** Waits for its end; rejects when it ends badly. */
  end(): Promise<void>
}

/** Starts `script`, a path beside the test that asks. It is killed when the test ends. */
export function start(script: URL, ...args: string[]): Child {
  if (!existsSync(built))
    throw new Error(`${built} is missing: children run from dist/, so "npm run build" comes first`)
  const child: ChildProcess = spawn(process.execPath, [fileURLToPath(script), ...args], {
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  const closed = once(child, 'close')
  // What is said to a process that has just died is lost.
  child.stdin!.on('error', () => undefined)
  onTestFinished(() => void child.kill('SIGKILL'))

  const lines: string[] = []
  const waiting: (() => void)[] = []
  let over = false
  function wake(): void {
    for (const resolve of waiting.splice(0)) resolve()
  }
  createInterface({ input: child.stdout! }).on('line', (line) => {
    lines.push(line)
    wake()
  })
  closed.then(() => {
    over = true
    wake()
  })

  return {
    pid: child.pid!,
    say: (line) => void child.stdin!.write(`${line}\n`),
    async hear() {
      while (lines.length === 0) {
        if (over) throw new Error(`${script} ended without a word (${child.exitCode ?? child.signalCode})`)
        await new Promise<void>((resolve) => waiting.push(resolve))
      }
      return lines.shift()!
    },
    said: () => lines.splice(0),
    signal: (signal) => void child.kill(signal),
    async kill() {
      child.kill('SIGKILL')
      await closed
    },
    async end() {
      child.stdin!.end()
      await closed
      if (child.exitCode !== 0) throw new Error(`${script} ended with ${child.exitCode ?? child.signalCode}`)
    },
  }
}
