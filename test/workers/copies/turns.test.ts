import { execFile } from 'node:child_process'
import { mkdirSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { openStore } from '../../../src/index.ts'
import { scratch } from '../../support/scratch.ts'

// `HOLDFAST_OTHER_NODE` names another node to run this with, as one that has zstd itself.

const run = promisify(execFile)
const root = fileURLToPath(new URL('../../..', import.meta.url))
const unbundled = new URL('../../../dist/index.js', import.meta.url).href
const turns = fileURLToPath(new URL('turns.mjs', import.meta.url))
const other = process.env.HOLDFAST_OTHER_NODE ?? ''

async function bundled(directory: string): Promise<string> {
  const outfile = join(directory, 'copy.mjs')
  await build({ entryPoints: [fileURLToPath(unbundled)], bundle: true, platform: 'node', format: 'esm', outfile })
  symlinkSync(join(root, 'node_modules'), join(directory, 'node_modules'), 'junction')
  return pathToFileURL(outfile).href
}

async function takeTurns(node: string, copies: (directory: string) => Promise<string[]>): Promise<void> {
  const directory = scratch()
  const copy = join(directory, 'copy')
  mkdirSync(copy)
  const store = join(directory, 'store')
  const { stdout, stderr } = await run(node, [turns, store, ...(await copies(copy))])
  expect(stderr).toBe('')
  const { snapshots, total, written } = JSON.parse(stdout)
  expect(snapshots).toBe(8)
  expect(written).toBeLessThan(total / 2)
  // And in every process after it.
  await using opened = await openStore(store)
  expect(await opened.verify()).toMatchObject({ ok: true, problems: [] })
}

const pairs: [name: string, copies: (directory: string) => Promise<string[]>][] = [
  ['an ES module and a bundle', async (directory) => [unbundled, await bundled(directory)]],
  [
    'one module that is evaluated twice',
    async (directory) => {
      const url = await bundled(directory)
      return [url, `${url}?again`]
    },
  ],
]

test.each(pairs)('%s in one process, and the application beside them: all is read back', async (_, copies) => {
  await takeTurns(process.execPath, copies)
})

test.skipIf(other === '').each(pairs)('%s, on the node that HOLDFAST_OTHER_NODE names', async (_, copies) => {
  await takeTurns(other, copies)
})
