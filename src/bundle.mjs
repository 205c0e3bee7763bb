// Makes the JavaScript of `dist/`: each entry of package.json, and the code that entries share in chunks, so that it is
// there only once.
//
//   node src/bundle.mjs [outdir]
//
// Bundled because a process that starts pays for each file that it loads: 163 files take three times as long as a
// dozen.

import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../', import.meta.url))
const outdir = process.argv[2] ?? join(root, 'dist')
const { bin, exports, engines } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))

const libraries = Object.values(exports)
  .filter((entry) => typeof entry !== 'string')
  .map((entry) => entry.default.replace(/^\.\//, ''))
const programs = Object.values(bin)
const entryPoints = [...libraries, ...programs].map((path) =>
  join(root, path.replace(/^dist\//, 'src/').replace(/\.js$/, '.ts')),
)

mkdirSync(outdir, { recursive: true })
// Chunks are named by their content: those of the build before would stay.
for (const path of readdirSync(outdir, { recursive: true })) {
  if (path.endsWith('.js')) rmSync(join(outdir, path))
}
await build({
  entryPoints,
  outdir,
  outbase: join(root, 'src'),
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  packages: 'external',
  platform: 'node',
  format: 'esm',
  target: `node${/\d+(\.\d+)*/.exec(engines.node)[0]}`,
  logLevel: 'warning',
})
for (const program of programs) {
  const path = join(outdir, program.replace(/^dist\//, ''))
  writeFileSync(path, `#!/usr/bin/env node\n${readFileSync(path, 'utf8')}`)
  chmodSync(path, 0o755)
}
