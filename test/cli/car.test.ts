// `holdfast export` and `holdfast import`: a snapshot travels through files and pipes.

import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { fixed, persistSnapshot } from '../../src/index.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { scratch } from '../support/scratch.ts'
import { BINARY, done, holdfast, shell } from './holdfast.ts'

async function stored(): Promise<{ folder: string; store: string; manifest: string }> {
  const folder = scratch()
  const store = join(folder, 'store')
  const { manifest } = await persistSnapshot(store, {
    blobs: { index: { source: noise(200_000, 1), chunking: fixed(4096) }, 'a name': 'text' },
    metadata: { model: 'm' },
  })
  return { folder, store, manifest }
}

test('a snapshot goes into a file and comes back into another store', async () => {
  const { folder, store, manifest } = await stored()
  const file = join(folder, 'one.car')
  const exported = await done(['export', '-o', file, '-s', store, '--json'])
  expect(exported.document).toMatchObject({
    file,
    root: manifest,
    bytes: statSync(file).size,
    snapshot: { sequence: 1 },
  })
  const to = join(folder, 'to')
  const args = ['import', file, '-s', to, '--json']
  expect(await holdfast(args)).toMatchObject({ exit: 15, failure: { code: 'STORE_NOT_FOUND' } })
  const imported = await done([...args, '--init', '-m', 'from there'])
  expect(imported.document).toMatchObject({ command: 'import', manifest, sequence: 1, unchanged: false })
  expect((await done(['snapshots', '-s', to, '--json'])).document.snapshots).toMatchObject([{ message: 'from there' }])
  expect((await done(['show', '-s', to, '--json'])).document.metadata).toEqual({ model: 'm' })
  expect((await done(args)).document).toMatchObject({ unchanged: true })
  expect((await done(['import', file, '-s', to])).stdout).toContain('unchanged: snapshot 1')
  await done(['verify', '-s', to])
})

test('a pipe carries it, and the bytes are those of the file', async () => {
  const { folder, store, manifest } = await stored()
  const to = join(folder, 'to')
  shell(`"$0" "$1" export current -o - -s '${store}' | "$0" "$1" import - --init -s '${to}'`)
  expect((await done(['snapshots', '-s', to, '--json'])).document.snapshots).toMatchObject([{ manifest }])
  const file = join(folder, 'one.car')
  await done(['export', '1', '-o', file, '-s', to])
  shell(`"$0" "$1" export -o - -s '${store}' > '${file}.2'`)
  expect(sameBytes(readFileSync(file), readFileSync(`${file}.2`))).toBe(true)
})

test('a file that is there stays, unless it is to be replaced', async () => {
  const { folder, store } = await stored()
  const file = join(folder, 'one.car')
  writeFileSync(file, 'mine')
  const args = ['export', '-o', file, '-s', store, '--json']
  expect(await holdfast(args)).toMatchObject({ exit: 15, failure: { code: 'TARGET_EXISTS' } })
  expect(readFileSync(file, 'utf8')).toBe('mine')
  await done([...args, '--overwrite'])
  expect(statSync(file).size).toBeGreaterThan(200_000)
  expect(await holdfast(['export', '-o', '-', '-s', store, '--json'])).toMatchObject({ exit: 2 })
  expect(await holdfast(['export', '-s', store, '--json'])).toMatchObject({ exit: 2 })
  expect(await holdfast(['export', 'v9', '-o', `${file}.9`, '-s', store, '--json'])).toMatchObject({ exit: 15 })
  expect(existsSync(`${file}.9`)).toBe(false)
  expect(await holdfast(['export', '-o', join(store, 'x.car'), '-s', store, '--json'])).toMatchObject({ exit: 2 })
})

test('of a damaged snapshot no file is made', async () => {
  const { folder, store } = await stored()
  const [pack] = readdirSync(join(store, 'packs'))
  const path = join(store, 'packs', pack!)
  const bytes = readFileSync(path)
  bytes[100_000]! ^= 1
  writeFileSync(path, bytes)
  const file = join(folder, 'one.car')
  expect(await holdfast(['export', '-o', file, '-s', store, '--json'])).toMatchObject({
    exit: 10,
    failure: { code: 'SNAPSHOT_DAMAGED' },
  })
  expect(readdirSync(folder).sort()).toEqual(['store'])
})

test('a file that is none is refused, and the store is as it was', async () => {
  const { folder, store } = await stored()
  const head = readFileSync(join(store, 'HEAD.json'))
  const file = join(folder, 'none.car')
  writeFileSync(file, 'hello')
  const { exit, failure } = await holdfast(['import', file, '-s', store, '--json'])
  expect([exit, failure.code, failure.details.reason, failure.next]).toEqual([15, 'CAR_INVALID', 'truncated', null])
  expect(await holdfast(['import', '-', '-s', store, '--json'])).toMatchObject({ exit: 15 })
  expect(await holdfast(['import', join(folder, 'gone.car'), '-s', store, '--json'])).toMatchObject({
    exit: 15,
    failure: { code: 'SOURCE_FAILED' },
  })
  expect(readFileSync(join(store, 'HEAD.json'))).toEqual(head)
})

test('without @ipld/car the commands say what to install', async () => {
  const { folder, store } = await stored()
  // Resolves every other package.
  const hooks = `data:text/javascript,${encodeURIComponent(`
    export async function resolve(specifier, context, next) {
      if (specifier.startsWith('@ipld/car')) throw Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' })
      return await next(specifier, context)
    }`)}`
  const register = `data:text/javascript,${encodeURIComponent(`
    import { register } from 'node:module'
    register(${JSON.stringify(hooks)})`)}`
  const env = { NODE_OPTIONS: `--import "${register}"` }
  for (const args of [
    ['export', '-o', join(folder, 'x.car')],
    ['import', BINARY],
  ]) {
    const { exit, failure } = await holdfast([...args, '-s', store, '--json'], { env })
    expect([exit, failure.code, failure.next]).toEqual([13, 'PACKAGE_MISSING', null])
    expect(failure.message).toContain('npm install @ipld/car')
  }
})
