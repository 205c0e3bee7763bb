// The examples of the README and of pages that need no server and no native engine run as they are printed, against the
// built package.

import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { transform } from 'esbuild'
import { expect, test } from 'vitest'
import { scratch } from '../support/scratch.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))

function examplesOf(page: string): string[] {
  const text = readFileSync(join(root, page), 'utf8')
  return [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!)
}

/** An empty project in which holdfast is installed, and what its examples import. */
function project(): string {
  const path = scratch()
  mkdirSync(join(path, 'node_modules'))
  symlinkSync(root, join(path, 'node_modules', 'holdfast'), 'junction')
  for (const each of ['minisearch', 'multiformats']) {
    symlinkSync(join(root, 'node_modules', each), join(path, 'node_modules', each), 'junction')
  }
  writeFileSync(join(path, 'package.json'), '{ "type": "module" }')
  return path
}

/** Runs a program to its end, and answers what it wrote. */
async function run(path: string, source: string): Promise<string> {
  const { code } = await transform(source, { loader: 'ts', format: 'esm', target: 'node20' })
  writeFileSync(join(path, 'example.mjs'), code)
  const { status, stdout, stderr } = spawnSync(process.execPath, ['example.mjs'], { cwd: path, encoding: 'utf8' })
  expect(status, `${stderr}\n${source}`).toBe(0)
  return stdout
}

const IMPORT = "import { openStore } from 'holdfast'\n"
const STORE = `${IMPORT}const store = await openStore('./data/search', { keepLast: 100 })\n`

test('those of the README run, and run again over what they left', async () => {
  const [first, second] = examplesOf('README.md')
  const path = project()
  for (const documents of ['0', '1']) {
    expect(
      await run(
        path,
        `${first}\nconsole.log(index.documentCount)\nindex.add({ id: index.documentCount, title: 'kelp' })\nawait persistEngine(store, adapter, index)`,
      ),
    ).toBe(`${documents}\n`)
    expect(
      await run(path, `${second}\nconsole.log(snapshot.blob('index').size, await snapshot.blob('titles').json())`),
    ).toBe("1024 [ 'kelp', 'rock' ]\n")
  }
})

test('that of docs/errors.md runs without a store, and says that one is damaged', async () => {
  const [example] = examplesOf('docs/errors.md')
  const path = project()
  expect(await run(path, example!)).toBe('')
  await run(path, `${STORE}await store.persist({ blobs: { a: 'one' } })`)
  writeFileSync(join(path, 'data/search/HEAD.json'), '{}')
  expect(await run(path, `console.error = console.log\n${example}`)).toMatch(/^damaged: HEAD_DAMAGED /)
})

test('those of docs/car.md run', async () => {
  const [files, blocks] = examplesOf('docs/car.md')
  const path = project()
  await run(path, `${STORE}await store.persist({ blobs: { a: 'one' } })`)
  expect(await run(path, `${files}\nconsole.log(sequence, manifest === snapshot.manifest)`)).toBe('1 true\n')
  expect(await run(path, blocks!)).toBe('9\n')
})

test('those of docs/space.md run, one after the other', async () => {
  const [open, ...rest] = examplesOf('docs/space.md')
  const path = project()
  await run(
    path,
    `${STORE}for (let i = 1; i <= 42; i++) await store.persist({ blobs: { a: String(i) } })\nawait store.tag('v1', { at: 5 })`,
  )
  await run(path, `${IMPORT}${open}`)
  expect(rest).toHaveLength(4)
  for (const example of rest) await run(path, `${STORE}${example}`)
  expect(readFileSync(join(path, 'report.html'), 'utf8')).toContain('<html')
})

test('those of docs/recovery.md run on a store in which a pack rots', async () => {
  const [repair, rescue, quarantine, copy] = examplesOf('docs/recovery.md')
  const path = project()
  await run(
    path,
    `${STORE}import { randomBytes } from 'node:crypto'
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
await store.persist({ blobs: { lost: randomBytes(1e5) } })
const [pack] = readdirSync('data/search/packs')
await store.persist({ blobs: { lost: randomBytes(1e5), whole: 'one' } })
const bytes = readFileSync('data/search/packs/' + pack)
bytes[50_000] ^= 1
writeFileSync('data/search/packs/' + pack, bytes)
await store.persist({ blobs: { whole: 'two' } })`,
  )
  await run(path, `${STORE}${rescue}`)
  expect(await run(path, `${IMPORT}${repair}\nconsole.log(report.ok, done.snapshots.length)`)).toBe('false 2\n')
  expect(
    await run(
      path,
      `${STORE}const { name } = (await store.quarantine.list()).find(({ bytes }) => bytes > 1e5)\n${quarantine}`,
    ),
  ).toBe('')
  expect(readFileSync(join(path, 'copy.pack')).length).toBeGreaterThan(100_000)
  await run(path, `${STORE}${copy!.replace('/backup/search', './backup/search')}`)
})
