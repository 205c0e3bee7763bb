// Stores in buckets on the command line, against a server of this process.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { httpObjects } from '../support/s3-http.ts'
import { scratch } from '../support/scratch.ts'
import { holdfast, type Ran } from './holdfast.ts'

/** Of any other keys that the machine has, nothing. */
const NO_KEYS = Object.fromEntries(
  ['ACCESS_KEY_ID', 'SECRET_ACCESS_KEY', 'SESSION_TOKEN', 'REGION', 'ENDPOINT_URL', 'ENDPOINT_URL_S3'].map((name) => [
    `AWS_${name}`,
    undefined,
  ]),
)

test('a store in a bucket is saved, listed, read, tagged, dropped, checked and restored', async () => {
  const { env, objects } = await httpObjects()
  const url = 's3://bucket/search/a%20b'
  const run = async (...args: string[]): Promise<Ran> => {
    const ran = await holdfast([...args, '-s', url, '--json'], { env: { ...NO_KEYS, ...env }, input: 'standard input' })
    expect(ran.exit, JSON.stringify(ran.failure)).toBe(0)
    return ran
  }
  const directory = scratch()
  writeFileSync(join(directory, 'a.txt'), 'one')
  await run('persist', '--init', `a=${join(directory, 'a.txt')}`, 'b=-')
  expect([...objects.keys()].sort()).toEqual(expect.arrayContaining(['search/a b/HEAD.json', 'search/a b/STORE.json']))
  writeFileSync(join(directory, 'a.txt'), 'two')
  await run('persist', `a=${join(directory, 'a.txt')}`, 'b=-')
  const { document } = await run('snapshots')
  expect(document).toMatchObject({ store: 's3://bucket/search/a b', snapshots: [{ sequence: 2 }, { sequence: 1 }] })
  expect((await holdfast(['cat', 'a', '-s', url], { env: { ...NO_KEYS, ...env } })).stdout).toBe('two')
  await run('tag', 'v1', '--at', '1')
  await run('show', 'v1')
  await run('diff', '1', '2')
  await run('stats')
  await run('rollback', '1')
  await run('restore', '-o', join(directory, 'out'))
  expect(readFileSync(join(directory, 'out/a'), 'utf8')).toBe('one')
  await run('forget', '2')
  await run('verify')
  await run('scrub')
  await run('repair', '--dry-run')
  const planned = (await run('gc', '--dry-run')).document
  expect((await run('gc')).document).toEqual({ ...planned, dryRun: false })
  const doctor = (await run('doctor')).document
  expect(doctor).toMatchObject({ ok: true, fileSystem: 'bucket' })
  expect(doctor.checks).toHaveLength(8)
})

test.each([
  ['quarantine', 'quarantine'],
  ['materialize', 'materialize'],
  ['gc --complete', 'gc --complete'],
])('%s is refused there, with the reason', async (args, what) => {
  const { env, log } = await httpObjects()
  const { exit, failure } = await holdfast([...args.split(' '), '-s', 's3://bucket/store', '--json'], {
    env: { ...NO_KEYS, ...env },
  })
  expect([exit, failure.code]).toEqual([2, 'USAGE'])
  expect(failure.message).toContain(`${what} is for stores in directories; `)
  expect(log).toEqual([])
})

test('copy brings a store into a bucket, from there into a directory, and later what is new', async () => {
  const { env } = await httpObjects()
  const root = scratch()
  const run = async (args: string, expected = 0): Promise<Ran> => {
    const ran = await holdfast([...args.split(' '), '--json'], { cwd: root, env: { ...NO_KEYS, ...env }, input: args })
    expect(ran.exit, JSON.stringify(ran.failure)).toBe(expected)
    return ran
  }
  for (const message of ['1', '2']) await run(`persist --init a=- -m ${message} -s local`)
  const first = (await run('copy s3://bucket/backup -s local')).document
  expect(first).toMatchObject({ to: 's3://bucket/backup', sequence: 2, snapshots: 2 })
  expect((await run('copy s3://bucket/backup -s local')).document).toMatchObject({ snapshots: 0, copiedBytes: 0 })
  expect((await run('copy s3://bucket/second -s s3://bucket/backup')).document).toMatchObject({ snapshots: 2 })
  expect((await run('copy back -s s3://bucket/backup')).document).toMatchObject({
    to: join(root, 'back'),
    snapshots: 2,
  })
  expect((await run('show -s back')).exit).toBe(0)
  await run('persist a=- -s back')
  expect((await run('copy back -s s3://bucket/backup', 12)).failure).toMatchObject({ code: 'DIVERGED' })
  await run('copy back --append -s s3://bucket/backup')
  await run('copy elsewhere --append -s local', 2)
})

test('what the environment or the URL lacks is told before anything is sent', async () => {
  const { env, log } = await httpObjects()
  const failing = async (url: string, more: Record<string, string | undefined>): Promise<string> => {
    const { exit, failure } = await holdfast(['snapshots', '-s', url, '--json'], {
      env: { ...NO_KEYS, ...env, ...more },
    })
    expect([exit, failure.code]).toEqual([2, 'USAGE'])
    return failure.message
  }
  expect(await failing('s3://bucket/a', { AWS_ACCESS_KEY_ID: undefined })).toMatch(/AWS_ACCESS_KEY_ID is not set/)
  expect(await failing('s3://bucket/a', { AWS_ACCESS_KEY_ID: '', AWS_SECRET_ACCESS_KEY: undefined })).toMatch(
    /AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not set/,
  )
  expect(await failing('s3://bucket/a', { AWS_ENDPOINT_URL_S3: 'server:9000' })).toMatch(/endpoint/)
  expect(await failing('s3://bucket/a?x=y', {})).toMatch(/a bucket and a prefix/)
  expect(await failing('s3://', {})).toMatch(/bucket/)
  expect(await failing('gs://bucket/a', {})).toMatch(/s3:\/\/bucket\/prefix/)
  expect(log).toEqual([])
})

test('a prefix without a store, keys that are refused, and a server that is away are three failures', async () => {
  const server = await httpObjects()
  const failing = async (env: Record<string, string>): Promise<unknown[]> => {
    const { exit, failure } = await holdfast(['snapshots', '-s', 's3://bucket/none', '--json'], {
      env: { ...NO_KEYS, ...server.env, ...env },
    })
    return [exit, failure.code]
  }
  expect(await failing({})).toEqual([15, 'STORE_NOT_FOUND'])
  expect(await failing({ AWS_ACCESS_KEY_ID: 'another' })).toEqual([13, 'IO_FAILED'])
  server.failing = 501
  expect(await failing({})).toEqual([13, 'IO_FAILED'])
})

test('a server that ignores conditions is not fit for a store', async () => {
  const server = await httpObjects()
  server.ignores.add('ifAbsent')
  const { exit, document } = await holdfast(['doctor', '-s', 's3://bucket/store', '--json'], {
    env: { ...NO_KEYS, ...server.env },
  })
  expect([exit, document.ok]).toEqual([13, false])
})

test('AWS_ENDPOINT_URL is taken where the one of S3 is not set', async () => {
  const { env, endpoint } = await httpObjects()
  const only = { ...NO_KEYS, ...env, AWS_ENDPOINT_URL_S3: undefined, AWS_ENDPOINT_URL: endpoint }
  const ran = await holdfast(['persist', '--init', 'a=-', '-s', 's3://bucket/store', '--json'], {
    env: only,
    input: 'x',
  })
  expect(ran.exit).toBe(0)
})
