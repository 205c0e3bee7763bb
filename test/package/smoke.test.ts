import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

// What is cheap to say of the package as it would be published. `package.test.ts` packs and installs it, in the full
// run.

const root = fileURLToPath(new URL('../../', import.meta.url))
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  exports: Record<string, string | { types: string; default: string }>
}

test('every entry of the package is there, and its types', () => {
  for (const entry of Object.values(exports)) {
    for (const path of typeof entry === 'string' ? [entry] : Object.values(entry))
      expect(existsSync(join(root, path)), path).toBe(true)
  }
})

test('npm would pack the build and its documents, and no source and no test', () => {
  const args = ['pack', '--dry-run', '--ignore-scripts', '--json', '--loglevel=error']
  const [{ files }] = JSON.parse(execFileSync('npm', args, { cwd: root, encoding: 'utf8' })) as [
    { files: { path: string }[] },
  ]
  const paths = files.map(({ path }) => path)
  expect(paths).toEqual(expect.arrayContaining(['README.md', 'dist/index.js', 'dist/index.d.ts', 'docs/format.md']))
  expect(paths.filter((path) => /^(src|test|bench)\//.test(path))).toEqual([])
})

test('by its name it persists and loads', () => {
  const program = `
    import { memory } from 'holdfast'
    import { persistEngine } from 'holdfast/engines'
    const store = memory()
    await store.persist({ blobs: { a: 'by name' } })
    const snapshot = await store.load()
    console.log(await snapshot.blob('a').text(), typeof persistEngine)
  `
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', program], { cwd: root, encoding: 'utf8' })
  expect(said).toBe('by name function\n')
})

test('a CID of the copy of multiformats that a program has is kept, and comes back as one', () => {
  const program = `
    import { memory } from 'holdfast'
    import { asBlockstore } from 'holdfast/blockstore'
    import { CID } from 'multiformats/cid'
    const store = memory()
    const { blobs } = await store.persist({ blobs: { a: 'some bytes' } })
    const mine = CID.parse(blobs.a.cid)
    await store.persist({ blobs: { a: 'some bytes' }, metadata: { mine } })
    const { metadata } = await store.load()
    let bytes = 0
    for await (const part of asBlockstore(store).get(mine)) bytes += part.length
    console.log(CID.asCID(metadata.mine).equals(mine), bytes)
  `
  const args = ['--input-type=module', '-e', program]
  expect(execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' })).toBe('true 10\n')
})

test('the settings of the zod that a program has are left alone', () => {
  const program = `
    import { memory } from 'holdfast'
    import { z } from 'zod'
    z.config(z.locales.de())
    const store = memory()
    await store.persist({ blobs: { a: 'a' } })
    console.log(z.string().safeParse(1).error.issues[0].message.slice(0, 8))
  `
  const args = ['--input-type=module', '-e', program]
  expect(execFileSync(process.execPath, args, { cwd: root, encoding: 'utf8' })).toMatch(/^Ungültig/)
})
