// A store through many persists with daily retention, on a simulated clock. Writes bench/lifetime.json; docs/pictures/lifetime.mjs draws it.
//   node bench/lifetime.mjs [persists]
//   node bench/lifetime.mjs heads      what many kept snapshots cost
//
// 50 blobs of 1 MiB in pages of 16 KiB. Each persist changes 4 pages in each of 2 blobs, an hour after the one before. Every twentieth time the garbage is given back as an open
// store does by itself. The directory is on the file system of the system's temporary files.

import { spawnSync } from 'node:child_process'
import { mkdirSync } from 'node:fs'
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
const args = [outfile, join(here, 'lifetime.json'), ...process.argv.slice(2)]
process.exitCode = spawnSync(process.execPath, args, { stdio: 'inherit' }).status ?? 1
