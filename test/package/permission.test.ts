import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { openStore } from '../../src/index.ts'
import { scratch } from '../support/scratch.ts'
import { files } from '../support/tree.ts'

// Node's permission model disables fsync. A snapshot that is not fsynced is not durable, so nothing may be written.

test('under the permission model reading works, and each call that writes says why it does not', async () => {
  const home = scratch()
  const path = join(home, 'store')
  const fresh = join(home, 'fresh')
  mkdirSync(fresh)
  const store = await openStore(path)
  for (const text of ['1', '2']) await store.persist({ blobs: { a: text, 'd/e': text } })
  const before = [files(path), readFileSync(join(path, 'HEAD.json'), 'utf8')]

  const major = Number(process.versions.node.split('.')[0])
  const flag = major >= 24 ? '--permission' : '--experimental-permission'
  const allowed = ['--allow-addons', '--allow-worker', '--allow-fs-read=*', '--allow-fs-write=*']
  const child = fileURLToPath(new URL('permission-child.mjs', import.meta.url))
  const { stdout, stderr } = spawnSync(process.execPath, [flag, ...allowed, '--no-warnings', child, path, fresh], {
    encoding: 'utf8',
  })
  const { load, ...answers } = JSON.parse(stdout || `{ "failed": ${JSON.stringify(stderr)} }`) as Record<string, string>
  expect(load).toBe('2')
  for (const [call, answer] of Object.entries(answers)) {
    expect(`${call}: ${answer}`).toMatch(/: (IO_FAILED|COMMIT_UNKNOWN) .*Node's permission model/)
  }
  expect(Object.keys(answers).length).toBe(12)
  // What it had begun to write is not there.
  expect([files(path), readFileSync(join(path, 'HEAD.json'), 'utf8')]).toEqual(before)
  expect(existsSync(join(fresh, 'store'))).toBe(false)
  expect(existsSync(join(fresh, 'out'))).toBe(false)
})
