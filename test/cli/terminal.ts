// Runs the binary in a pseudo-terminal (`script` of util-linux), and shows what stands on its screen.

import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import xterm from '@xterm/headless'
import { BINARY } from './holdfast.ts'

const ROWS = 40

/** `script` is on every Linux; that of macOS takes other arguments. */
export const hasTerminal = process.platform === 'linux' && existsSync('/usr/bin/script')

export interface TerminalRun {
  exit: number | null
  /** The bytes that the terminal was sent. */
  raw: string
  /** The lines on the screen in the end, and what was scrolled out of it. */
  screen: string[]
}

export interface TerminalOptions {
  columns?: number
  env?: Record<string, string | undefined>
  /** Called with all that was sent so far. `type` types on the keyboard. */
  onData?(raw: string, type: (text: string) => void): void
}

/** Runs a shell command in which `holdfast` is the binary. */
export async function inTerminal(command: string, options: TerminalOptions = {}): Promise<TerminalRun> {
  const { columns = 120, env, onData } = options
  const quoted = [process.execPath, BINARY].map((word) => `'${word}'`).join(' ')
  const whole = `stty cols ${columns} rows ${ROWS}; holdfast() { ${quoted} "$@"; }; ${command}`
  const child: ChildProcess = spawn('script', ['-q', '-e', '-c', whole, '/dev/null'], {
    env: {
      ...process.env,
      HOLDFAST_STORE: undefined,
      // What decides about colors: where the tests run is not what they are about.
      CI: undefined,
      COLORTERM: undefined,
      FORCE_COLOR: undefined,
      NODE_DISABLE_COLORS: undefined,
      NO_COLOR: undefined,
      TMUX: undefined,
      TERM: 'xterm-256color',
      SHELL: '/bin/bash',
      ...env,
    },
    stdio: ['pipe', 'pipe', 'inherit'],
  })
  child.stdin!.on('error', () => undefined)
  let raw = ''
  child.stdout!.setEncoding('utf8').on('data', (text: string) => {
    raw += text
    onData?.(raw, (typed) => child.stdin!.write(typed))
  })
  const [exit] = (await once(child, 'close')) as [number | null]
  return { exit, raw, screen: await screenAfter(raw, columns) }
}

async function screenAfter(raw: string, columns: number): Promise<string[]> {
  const terminal = new xterm.Terminal({ cols: columns, rows: ROWS, scrollback: 1000, allowProposedApi: true })
  await new Promise<void>((resolve) => terminal.write(raw, resolve))
  const { active } = terminal.buffer
  const lines = Array.from({ length: active.length }, (_, n) => active.getLine(n)!.translateToString(true))
  while (lines.at(-1) === '') lines.pop()
  return lines
}
