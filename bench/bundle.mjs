// Bundles a program of this folder with the sources as they are now (so that a change meanwhile does not mix two
// versions in one run), and runs it.

import { spawnSync } from 'node:child_process'
import { mkdirSync, rmSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = dirname(fileURLToPath(import.meta.url))

/**
 * Runs `entry`, a path below this folder, in a process of its own. That may start itself again for each of its parts,
 * so the bundle stays until it has ended. Answers the exit status.
 */
export async function runBundled(entry, args) {
  const outfile = join(here, 'results', 'build', `${basename(entry, '.ts')}-${process.pid}.mjs`)
  mkdirSync(dirname(outfile), { recursive: true })
  await build({
    entryPoints: [join(here, entry)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node20',
    packages: 'external',
    supported: { using: false },
  })
  const { status, signal } = spawnSync(process.execPath, ['--expose-gc', outfile, ...args], { stdio: 'inherit' })
  rmSync(outfile)
  return signal === null ? (status ?? 1) : 1
}
