// Bundles object-store.ts and runs it here.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const outfile = fileURLToPath(new URL('../test/dist/bench-object-store.mjs', import.meta.url))
const entryPoints = [fileURLToPath(new URL('./object-store.ts', import.meta.url))]
await build({
  entryPoints,
  outfile,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  logLevel: 'warning',
})
process.exitCode = spawnSync(process.execPath, [outfile, ...process.argv.slice(2)], { stdio: 'inherit' }).status ?? 1
