// Makes the JavaScript of `dist/`: each entry of package.json, and the code that entries share in chunks, so that it is
// there only once.
//
//   node src/bundle.mjs [outdir]
//
// Bundled because a process that starts pays for each file that it loads. Packages of many small files are bundled, too;
// their licences are in `THIRD-PARTY-LICENSES.txt` (docs/decisions/0093-small-packages-are-bundled.md).

import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const root = fileURLToPath(new URL('../', import.meta.url))
const outdir = process.argv[2] ?? join(root, 'dist')
/** The packages of which a part goes into `dist/`, with what they need themselves. Every other one stays outside. */
const bundled = [
  '@ipld/dag-cbor',
  '@ipld/dag-json',
  'ansi-escapes',
  'ansi-regex',
  'ansi-styles',
  'cborg',
  'cli-cursor',
  'environment',
  'get-east-asian-width',
  'is-fullwidth-code-point',
  'log-update',
  'mimic-function',
  'multiformats',
  'onetime',
  'restore-cursor',
  'signal-exit',
  'slice-ansi',
  'string-width',
  'strip-ansi',
  'wrap-ansi',
  'zod',
]
const { bin, exports, engines, dependencies, peerDependencies } = JSON.parse(
  readFileSync(join(root, 'package.json'), 'utf8'),
)

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
const { metafile } = await build({
  entryPoints,
  outdir,
  outbase: join(root, 'src'),
  chunkNames: 'chunks/[name]-[hash]',
  bundle: true,
  splitting: true,
  external: Object.keys({ ...dependencies, ...peerDependencies }).filter((name) => !bundled.includes(name)),
  metafile: true,
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

const parts = Object.values(metafile.outputs).flatMap(({ inputs }) => Object.entries(inputs))
const paths = parts.filter(([path, { bytesInOutput }]) => path.includes('node_modules/') && bytesInOutput > 0)
const inside = [...new Set(paths.map(([path]) => packageOf(path)))]
  .map(describe)
  .sort((a, b) => (a.name < b.name ? -1 : 1))
const names = [...new Set(inside.map(({ name }) => name))]
if (String(names) !== String(bundled)) throw new Error(`bundled are ${names}, in place of ${bundled}`)
writeFileSync(join(outdir, 'THIRD-PARTY-LICENSES.txt'), inside.map(licenseOf).join('\n'))

// Declarations that no entry reaches would name packages that are not installed.
const reached = new Set(libraries.map((path) => join(outdir, path.replace(/^dist\//, '').replace(/\.js$/, '.d.ts'))))
for (const path of reached) {
  for (const [, to] of readFileSync(path, 'utf8').matchAll(/(?:from |import\()['"](\.[^'"]+)\.[jt]s['"]/g)) {
    reached.add(join(dirname(path), `${to}.d.ts`))
  }
}
for (const path of readdirSync(outdir, { recursive: true })) {
  if (path.endsWith('.d.ts') && !reached.has(join(outdir, path))) rmSync(join(outdir, path))
}

/** The directory of the package that a file belongs to. */
function packageOf(path) {
  return /.*node_modules\/(?:@[^/]+\/)?[^/]+/.exec(path)[0]
}

function describe(path) {
  const directory = join(root, path)
  const { name, version, license } = JSON.parse(readFileSync(join(directory, 'package.json'), 'utf8'))
  return { directory, name, version, license }
}

function licenseOf({ directory, name, version, license }) {
  const files = readdirSync(directory).filter((file) => /^licen[cs]e/i.test(file))
  if (files.length === 0 && !/Apache-2\.0/.test(license)) throw new Error(`${name} has no licence to pass on`)
  const text = files.map((file) => readFileSync(join(directory, file), 'utf8').trim()).join('\n\n')
  return `Parts of ${name} ${version} (${license}) are in these files.\n\n${text || 'Its Apache License is LICENSE-APACHE of this package.'}\n`
}
