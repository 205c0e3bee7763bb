import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { makeDirectory, remove } from '../../src/local/private-directory.ts'
import { captureBytes, captureFileLater, privateHome, saveInto, writeInto } from '../../src/local/saved-file.ts'
import { eventually } from '../support/eventually.ts'
import { scratch } from '../support/scratch.ts'

const script = fileURLToPath(new URL('scratch-child.mjs', import.meta.url))

/** A process in the middle of a save. */
async function saving(directory: string): Promise<ChildProcess> {
  const child = spawn(process.execPath, [script, directory], { stdio: ['ignore', 'pipe', 'inherit'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  await new Promise((resolve) => child.stdout.once('data', resolve))
  return child
}

function save(directory: string): Buffer {
  return captureBytes(directory, (path) => writeFileSync(path, 'saved'))
}

test('what a process left that was killed during a save is removed by the next, what a living one uses is not', async () => {
  const directory = scratch()
  const [dead, living] = [await saving(directory), await saving(directory)]
  expect(readdirSync(directory)).toHaveLength(2)
  const ended = new Promise((resolve) => dead.once('exit', resolve))
  dead.kill('SIGKILL')
  await ended
  expect(save(directory).toString()).toBe('saved')
  await eventually(() => expect(readdirSync(directory)).toHaveLength(1))
  await sleep(50)
  expect(readdirSync(directory)).toHaveLength(1)
  expect(living.exitCode).toBeNull()
})

test('the leavings of the dead are told by a lock, in directories of our own and in no other', async () => {
  const directory = scratch()
  const elsewhere = scratch()
  writeFileSync(join(elsewhere, 'lock'), '')
  const made = (prefix: string): string => mkdtempSync(join(directory, prefix))
  const dead = made('holdfast-scratch-')
  mkdirSync(join(dead, 'below'))
  for (const name of ['lock', 'saved', 'below/more']) writeFileSync(join(dead, name), '')
  const kept = {
    'of another name': made('holdfast-other-'),
    'without a lock': made('holdfast-scratch-'),
    'in use': made('holdfast-scratch-'),
    'open to others': made('holdfast-scratch-'),
  }
  writeFileSync(join(kept['of another name'], 'lock'), '')
  writeFileSync(join(kept['open to others'], 'lock'), '')
  chmodSync(kept['open to others'], 0o770)
  const lock = await nodeFileSystem.open(join(kept['in use'], 'lock'), 'create')
  onTestFinished(() => lock.close())
  expect(lock.tryLock('exclusive')).toBe(true)
  const link = join(directory, 'holdfast-scratch-link')
  symlinkSync(elsewhere, link)
  const mine = makeDirectory(directory)
  await eventually(() => expect(existsSync(dead)).toBe(false))
  await sleep(50)
  for (const [why, path] of Object.entries({ ...kept, 'a link': link, mine }))
    expect([why, existsSync(path)]).toEqual([why, true])
  expect(readdirSync(elsewhere)).toEqual(['lock'])
  remove(mine)
  expect(existsSync(mine)).toBe(false)
})

test.runIf(process.platform === 'linux')('a scratch directory gives its descriptor back', () => {
  const directory = scratch()
  save(directory)
  const before = readdirSync('/proc/self/fd').length
  for (let n = 0; n < 20; n++) save(directory)
  expect(() =>
    captureBytes(directory, () => {
      throw new Error('no')
    }),
  ).toThrow('no')
  expect(readdirSync('/proc/self/fd').length).toBeLessThanOrEqual(before)
  expect(readdirSync(directory)).toEqual([])
})

test('a disk of temporary files that is full or cannot be written is told with the option that names another', async () => {
  const directory = scratch()
  const file = join(directory, 'file')
  writeFileSync(file, '')
  const full = Object.assign(new Error('database or disk is full'), { code: 'SQLITE_FULL' })
  const told = { message: expect.stringMatching(/temporaryDirectory with room for the whole index, or set TMPDIR/) }
  const parts = (async function* () {})()
  for (const [code, work] of [
    ['IO_FAILED', async () => privateHome(file)],
    [
      'IO_FAILED',
      () => writeInto({ path: file, isSystems: true, discard: () => undefined, remove: async () => undefined }, parts),
    ],
    // What an engine throws, which is not the system's.
    [
      'SOURCE_FAILED',
      async () =>
        saveInto(privateHome(directory), () => {
          throw new TypeError('Failed to serialize into stream')
        }),
    ],
    [
      'SOURCE_FAILED',
      () =>
        captureFileLater(directory, async () => {
          throw full
        }),
    ],
  ] as const) {
    await expect(work()).rejects.toMatchObject({ code, ...told })
  }
  expect(readdirSync(directory)).toEqual(['file'])
  // What an adapter says of its engine stays as it is.
  const other = new TypeError('this database has no backup()')
  await expect(captureFileLater(directory, () => Promise.reject(other))).rejects.toBe(other)
})
