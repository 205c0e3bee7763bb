import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { scratch } from '../support/scratch.ts'

// Addons in a bundle: found from where the program is, even when the bundle has the path of the machine that made it;
// and an error that says what was looked for, from where, and what to do.

const root = fileURLToPath(new URL('../../', import.meta.url))

const PROGRAM = `
import { persistSnapshot } from ${JSON.stringify(join(root, 'dist/index.js'))}
persistSnapshot(process.argv[2], { blobs: { a: 'a' } }).then(
  ({ sequence }) => console.log('sequence ' + sequence),
  (error) => console.log(error.code + ' ' + error.message),
)
`

/** As webpack does it: the place of our file is what it was on the machine that made the bundle. */
async function bundle(format: 'esm' | 'cjs'): Promise<string> {
  const home = scratch()
  const file = join(home, 'out', format === 'esm' ? 'app.mjs' : 'app.cjs')
  writeFileSync(join(home, 'app.mjs'), PROGRAM)
  const require =
    "import { createRequire as makeRequire } from 'node:module'; const require = makeRequire(process.argv[1])"
  await build({
    entryPoints: [join(home, 'app.mjs')],
    outfile: file,
    bundle: true,
    platform: 'node',
    format,
    define: { 'import.meta.url': '"file:///gone/with/the/build/machine.js"' },
    ...(format === 'esm' ? { banner: { js: require } } : {}),
    logLevel: 'error',
  })
  return file
}

function run(file: string): string {
  const args = ['--no-warnings', file, join(file, '../../store')]
  return spawnSync(process.execPath, args, { encoding: 'utf8', cwd: '/' }).stdout.trim()
}

test.each(['esm', 'cjs'] as const)('a bundle (%s) that was moved finds the packages beside it', async (format) => {
  const file = await bundle(format)
  const alone = run(file)
  expect(alone).toMatch(/^LOCK_UNAVAILABLE .*the package fs-native-extensions was not found; looked for from \S/)
  expect(alone).toContain(file)
  expect(alone).toMatch(/keep holdfast external, or install fs-native-extensions into a node_modules beside the bundle/)
  // Two writers without locks lose each other's snapshots: that is no answer to a missing package.
  expect(alone).not.toContain("'none'")

  mkdirSync(join(file, '../node_modules'))
  const needed = ['fs-native-extensions', 'require-addon', 'which-runtime', ...bare()]
  for (const name of needed)
    symlinkSync(join(root, 'node_modules', name), join(file, '../node_modules', name), 'junction')
  expect(run(file)).toBe('sequence 1')
})

function bare(): string[] {
  return readdirSync(join(root, 'node_modules')).filter((name) => name.startsWith('bare-'))
}

test('a tracer sees in the published code which packages are needed, and webpack leaves the call alone', () => {
  const chunks = readdirSync(join(root, 'dist/chunks')).map((name) =>
    readFileSync(join(root, 'dist/chunks', name), 'utf8'),
  )
  const code = chunks.find((text) => text.includes('module.createRequire('))!
  // @vercel/nft follows calls of what `module.createRequire` gave, with a name that is written out.
  const name = /const (\w+) = module\.createRequire\(/.exec(code)?.[1]
  for (const needed of [
    'fs-native-extensions',
    'fs-native-extensions/prebuilds/linux-x64/fs-native-extensions.node',
    'fs-native-extensions/prebuilds/linux-arm64/fs-native-extensions.node',
    '@napi-rs/blake-hash',
    '@bokuweb/zstd-wasm',
  ]) {
    expect(code).toContain(`${name}("${needed}")`)
  }
  // webpack replaces what is imported by this name.
  expect(code).not.toMatch(/import \{[^}]*createRequire[^}]*\} from "node:module"/)
})

test('with moduleResolution node10, which does not read exports, each entry has its types', () => {
  const { exports, typesVersions } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'))
  const entries = Object.entries<{ types?: string }>(exports).filter(
    ([name, { types }]) => name !== '.' && types !== undefined,
  )
  expect(typesVersions['*']).toEqual(Object.fromEntries(entries.map(([name, { types }]) => [name.slice(2), [types]])))
})
