// Bundles object-store.ts, or object-generations.ts for `generations`, and runs it here.
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const [kind, ...rest] = process.argv.slice(2)
const isGenerations = kind === 'generations'
const name = isGenerations ? 'object-generations' : 'object-store'
const outfile = fileURLToPath(new URL(`../test/dist/bench-${name}.mjs`, import.meta.url))
await build({
  entryPoints: [fileURLToPath(new URL(`./${name}.ts`, import.meta.url))],
  outfile,
  bundle: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  logLevel: 'warning',
})
const args = isGenerations ? rest : process.argv.slice(2)
process.exitCode = spawnSync(process.execPath, [outfile, ...args], { stdio: 'inherit' }).status ?? 1
