// A store through many persists with daily retention, on a simulated clock. Writes bench/lifetime.json; docs/pictures/lifetime.mjs draws it.
//   node bench/lifetime.mjs [persists [directory]]      10,000 persists by default; a run in the same directory goes on where one before it ended
//   node bench/lifetime.mjs heads                       what many kept snapshots cost
//
// 50 blobs of 1 MiB in pages of 16 KiB. Each persist changes 4 pages in each of 2 blobs, an hour after the one before. Every twentieth time the garbage is given back as an open
// store does by itself. Without a directory, it is one among the system's temporary files that is removed in the end.

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))
const name = process.argv[2] === 'heads' ? 'heads' : 'lifetime'
const outfile = join(here, 'results', 'build', `${name}-${process.pid}.mjs`)
mkdirSync(dirname(outfile), { recursive: true })
await build({
  entryPoints: [join(here, `${name}.ts`)],
  outfile,
  bundle: true,
  platform: 'node',
  format: 'esm',
  target: 'node20',
  packages: 'external',
})
const output = join(here, 'lifetime.json')
const run = (...args) => spawnSync(process.execPath, [outfile, ...args], { stdio: 'inherit' }).status ?? 1
if (name === 'heads') process.exitCode = run(output, 'heads')
else {
  const [, , persists = '10000', given] = process.argv
  const directory = given ?? mkdtempSync(join(tmpdir(), 'holdfast-lifetime-'))
  process.exitCode = run(output, directory, persists)
  if (given === undefined) rmSync(directory, { recursive: true, force: true })
}
