import { spawn } from 'node:child_process'
import { readFileSync, writeFileSync } from 'node:fs'

/**
 * Runs `task` of this program in a process of its own: what it allocated before does not count, and it dies with it.
 */
export async function inChild<T>(program: string, task: string, input: unknown): Promise<T> {
  const child = spawn(process.execPath, ['--expose-gc', program, '--task', task, JSON.stringify(input)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  let output = ''
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text
  })
  const code = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve))
  if (code !== 0) throw new Error(`${task} ended with ${code}`)
  return JSON.parse(output) as T
}

/**
 * Peak of this process's resident memory during `work`, above what it had before, in bytes. Null where /proc does not
 * tell.
 */
export async function peakBytes(work: () => Promise<unknown>): Promise<number | null> {
  globalThis.gc?.()
  try {
    // Sets the high-water mark back to what is resident now (proc(5)).
    writeFileSync('/proc/self/clear_refs', '5')
  } catch {
    await work()
    return null
  }
  const before = statusBytes('VmRSS')
  await work()
  // Pages given back meanwhile may outweigh what was taken.
  return Math.max(0, statusBytes('VmHWM') - before)
}

function statusBytes(field: string): number {
  const match = new RegExp(`^${field}:\\s+(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))
  return Number(match![1]) * 1024
}
