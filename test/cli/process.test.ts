// The process around a command: signals, readers that go away, disks that are full, and what it loads.

import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, onTestFinished, test } from 'vitest'
import { persistSnapshot } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { scratch } from '../support/scratch.ts'
import { BINARY, checked, done, holdfast } from './holdfast.ts'

async function textOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts).toString()
}

test.each([
  ['SIGINT', 130],
  ['SIGTERM', 143],
] as const)('%s in the middle of a save leaves the store as it was, with exit code %i', async (signal, code) => {
  const store = join(scratch(), 'store')
  await persistSnapshot(store, { blobs: { a: 'one' } })
  const head = readFileSync(join(store, 'HEAD.json'))
  const args = ['persist', 'big=-', '-s', store, '--json']
  const child = spawn(process.execPath, [BINARY, ...args], { stdio: 'pipe' })
  onTestFinished(() => void child.kill('SIGKILL'))
  const output = Promise.all([textOf(child.stdout), textOf(child.stderr), once(child, 'close')])
  child.stdin.on('error', () => undefined)
  child.stdin.write(noise(12_000_000, 1))
  while (readdirSync(join(store, 'tmp')).length === 0) await sleep(20)
  child.kill(signal)
  const [stdout, stderr, [exit]] = await output
  const { failure } = checked(args, { exit, stdout, stderr })
  expect(failure).toMatchObject({ code: 'INTERRUPTED', kind: 'interrupted', details: { signal } })
  expect(exit).toBe(code)
  expect(readFileSync(join(store, 'HEAD.json'))).toEqual(head)
  expect(readdirSync(join(store, 'tmp'))).toEqual([])
  await done(['persist', 'a=-', '-s', store], { input: 'two' })
})

test('a reader that ends early is no error', async () => {
  const store = join(scratch(), 'store')
  await persistSnapshot(store, { blobs: { big: noise(8_000_000, 1) } })
  const child = spawn(process.execPath, [BINARY, 'cat', 'big', '-s', store], { stdio: 'pipe' })
  onTestFinished(() => void child.kill('SIGKILL'))
  const stderr = textOf(child.stderr)
  await once(child.stdout, 'data')
  child.stdout.destroy()
  const [exit] = await once(child, 'close')
  expect([exit, await stderr]).toEqual([0, ''])
})

test.skipIf(!existsSync('/dev/full'))('a full disk under the output is one', async () => {
  const store = join(scratch(), 'store')
  await persistSnapshot(store, { blobs: { a: 'one' } })
  for (const args of ['cat a', 'snapshots', 'snapshots --json']) {
    let exit: unknown = 0
    try {
      execFileSync('sh', ['-c', `"$0" "$1" ${args} -s "$2" > /dev/full`, process.execPath, BINARY, store], {
        stdio: 'pipe',
      })
    } catch (error) {
      exit = (error as { status: number }).status
      expect((error as { stderr: Buffer }).stderr.toString()).toContain('NO_SPACE')
    }
    expect(exit, args).toBe(13)
  }
})

test('standard input that ends without a byte is refused, unless it is meant', async () => {
  const store = join(scratch(), 'store')
  const args = ['persist', '--init', 'dump=-', '-s', store, '--json']
  expect(await holdfast(args)).toMatchObject({ exit: 15, failure: { code: 'SOURCE_FAILED' } })
  expect((await done(['snapshots', '-s', store, '--json'])).document.snapshots).toEqual([])
  await done([...args, '--allow-empty'])
})

/** Module hooks that print what is loaded. */
const HOOKS = `data:text/javascript,${encodeURIComponent(`
  import { writeSync } from 'node:fs'
  export async function load(url, context, next) {
    writeSync(2, 'loaded ' + url + '\\n')
    return await next(url, context)
  }`)}`

function loadedBy(...args: string[]): string[] {
  const source = `
    import { register } from 'node:module'
    register(${JSON.stringify(HOOKS)})
    process.argv = ['node', 'holdfast', ...${JSON.stringify(args)}]
    await import(${JSON.stringify(BINARY)})`
  const said = execFileSync(
    'sh',
    ['-c', '"$0" --input-type=module -e "$1" 2>&1 >/dev/null', process.execPath, source],
    {
      encoding: 'utf8',
    },
  )
  return said.split('\n').filter((line) => line.startsWith('loaded file:'))
}

function packagesOf(loaded: readonly string[]): string[] {
  const names = loaded.flatMap((url) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? [])
  return [...new Set(names)].sort()
}

test('--help loads commander, and nothing of the library that takes time', () => {
  const loaded = loadedBy('--help')
  expect(packagesOf(loaded)).toEqual(['commander'])
  expect(loaded.length).toBeLessThan(12)
})

test('a list of snapshots loads no addon, no compressor, no engine and no drawing of progress', async () => {
  const store = join(scratch(), 'store')
  await persistSnapshot(store, { blobs: { a: 'one' } })
  const loaded = loadedBy('snapshots', '-s', store)
  expect(packagesOf(loaded)).toEqual(['blake3-jit', 'commander'])
  expect(loaded.length).toBeLessThan(52)
})
