// Several copies of holdfast in one process (two versions in a tree, a bundled one beside another), and an application
// that initialises the zstd package itself: each has a libzstd of its own.

import { execFile } from 'node:child_process'
import { existsSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { openStore } from '../../src/index.ts'
import { scratch } from '../support/storages.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const dist = join(root, 'dist/index.js')

/** Another Node's binary, to run the same with it. */
const otherNode = process.env.HOLDFAST_OTHER_NODE
const nodes = [process.execPath, ...(otherNode === undefined ? [] : [otherNode])]

test.each(nodes)(
  'two bundled copies and an unbundled one write one store in turns, and all of it reads back (%s)',
  async (node) => {
    expect(existsSync(dist)).toBe(true)
    const home = scratch()
    symlinkSync(join(root, 'node_modules'), join(home, 'node_modules'), 'junction')
    const copies = [join(home, 'one.mjs'), join(home, 'two.cjs')]
    for (const outfile of copies) {
      await build({
        entryPoints: [dist],
        outfile,
        bundle: true,
        platform: 'node',
        format: outfile.endsWith('.cjs') ? 'cjs' : 'esm',
        logLevel: 'error',
      })
    }
    const store = join(home, 'store')
    const script = fileURLToPath(new URL('copies.mjs', import.meta.url))
    const { stdout, stderr } = await promisify(execFile)(node, [script, store, dist, ...copies])
    expect(JSON.parse(stdout)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9])
    expect(stderr).not.toMatch(/holdfast/i)
    await using opened = await openStore(store)
    const report = await opened.verify({ level: 'full' })
    expect(report.ok).toBe(true)
    expect(report.snapshots.every(({ intact }) => intact)).toBe(true)
    expect((await opened.snapshots()).length).toBe(9)
  },
  60_000,
)
