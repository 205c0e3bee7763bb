// Searches: a real process that changes a live engine is killed, again and again. The next one finds each acknowledged
// change, once. (What a power loss does is another matter: the page cache survives a kill.)

import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { clock } from '../../src/clock.ts'
import { effort, randomFor } from '../support/effort.ts'
import { scratch } from '../support/scratch.ts'

const script = fileURLToPath(new URL('../engines/live-child.mjs', import.meta.url))

/** Runs until it is killed, some time after it was ready. */
async function life(path: string, ms: number): Promise<{ found: string; durable: number; errors: string }> {
  const child = spawn(process.execPath, [script, path, '400'], { stdio: ['ignore', 'pipe', 'pipe'] })
  let output = ''
  let errors = ''
  let ready = (): void => undefined
  const isReady = new Promise<void>((resolve) => {
    ready = resolve
  })
  child.stdout.on('data', (data: Buffer) => {
    output += data.toString()
    if (output.includes('\n')) ready()
  })
  child.stderr.on('data', (data: Buffer) => {
    errors += data.toString()
  })
  const ended = new Promise<void>((resolve) => child.on('close', () => resolve()))
  await Promise.race([isReady, ended])
  await clock.sleep(ms)
  child.kill('SIGKILL')
  await ended
  const lines = output.split('\n')
  const durable = lines.findLast((line) => /^durable \d+$/.test(line)) ?? 'durable 0'
  return { found: lines[0]!, durable: Number(durable.slice('durable '.length)), errors }
}

test('a process that was killed at any moment lost no acknowledged change, and its successor applied none twice', async () => {
  const random = randomFor('live kills')
  const path = join(scratch(), 'store')
  let acknowledged = 0
  let found = 0
  // Each life takes half a second: few of them at less than full effort.
  for (let i = 0; i < (effort === 1 ? 200 : 4); i++) {
    const one = await life(path, random.below(150))
    expect(one.found, one.errors).toMatch(/^found \d+$/)
    found = Number(one.found.slice('found '.length))
    expect(found).toBeGreaterThanOrEqual(acknowledged)
    acknowledged = Math.max(found, one.durable)
  }
  expect(acknowledged).toBeGreaterThan(0)
})
