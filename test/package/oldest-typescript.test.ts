// The declarations are read by the oldest TypeScript that the README names, with all that is strict, and without
// looking away from those of libraries. It is installed once, beside other caches.

import { spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, type TestContext, test } from 'vitest'
import { skip } from '../support/mounted.ts'
import { scratch } from '../support/scratch.ts'

const OLDEST = '5.7.3'

const root = fileURLToPath(new URL('../../', import.meta.url))
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  exports: Record<string, { types?: string }>
}
const entries = Object.entries(exports)
  .filter(([, entry]) => entry.types !== undefined)
  .map(([name]) => name.replace('.', 'holdfast'))

function compiler(context: TestContext): string {
  const home = join(root, 'node_modules/.cache', `holdfast-typescript-${OLDEST}`)
  const tsc = join(home, 'node_modules/typescript/bin/tsc')
  if (existsSync(tsc)) return tsc
  mkdirSync(home, { recursive: true })
  writeFileSync(join(home, 'package.json'), '{ "private": true }')
  const args = ['install', '--no-save', '--no-audit', '--no-fund', '--prefer-offline', `typescript@${OLDEST}`]
  const installed = spawnSync('npm', args, { cwd: home, encoding: 'utf8', shell: process.platform === 'win32' })
  if (!existsSync(tsc))
    skip(context, `TypeScript ${OLDEST} cannot be installed: ${installed.stderr.trim().slice(0, 200)}`)
  return tsc
}

/** What `tsc` says of a program. */
function compile(tsc: string, program: string): string {
  const home = scratch()
  mkdirSync(join(home, 'node_modules/@types'), { recursive: true })
  symlinkSync(root, join(home, 'node_modules/holdfast'), 'junction')
  symlinkSync(join(root, 'node_modules/@types/node'), join(home, 'node_modules/@types/node'), 'junction')
  writeFileSync(join(home, 'program.mts'), program)
  const compilerOptions = {
    ...{ strict: true, exactOptionalPropertyTypes: true, noUncheckedIndexedAccess: true, skipLibCheck: false },
    ...{ noEmit: true, target: 'es2022', module: 'nodenext', lib: ['es2022', 'esnext.disposable'], types: ['node'] },
  }
  writeFileSync(join(home, 'tsconfig.json'), JSON.stringify({ compilerOptions, files: ['program.mts'] }))
  const { stdout, stderr } = spawnSync(process.execPath, [tsc, '-p', home], { encoding: 'utf8' })
  return stdout + stderr
}

test('the README and this test name the same TypeScript', () => {
  expect(readFileSync(join(root, 'README.md'), 'utf8')).toContain(`TypeScript ${OLDEST.replace(/\.\d+$/, '')} or later`)
})

test('the oldest TypeScript reads the declarations of every entry, and options take undefined', (context) => {
  const tsc = compiler(context)
  const imports = entries.map((name, n) => `import * as e${n} from '${name}'\nexport const k${n}: object = e${n}`)
  const use = `
import { memory, type BlobInput, type Snapshot } from 'holdfast'
import { persistEngine } from 'holdfast/engines'
import { plain } from 'holdfast/engines/plain'
const store = memory({ keepLast: undefined })
const directory: BlobInput = { directory: '.', exclude: undefined, followLinks: undefined, keepModes: undefined }
await store.persist({ blobs: { a: 'x', directory }, message: undefined, signal: undefined })
await using snapshot: Snapshot | null = await store.load({ at: undefined, fallback: undefined })
const bytes: Uint8Array = await snapshot!.blob('a').bytes()
const adapter = plain<{ n: number }>({ name: 'mine', save: ({ n }) => String(n), restore: () => ({ n: bytes.length }) })
await persistEngine(store, adapter, { n: 1 }, { check: undefined })
`
  expect(compile(tsc, [...imports, use].join('\n'))).toBe('')
  // It does look.
  expect(compile(tsc, "import { memory } from 'holdfast'\nmemory({ keepLast: 'three' })")).toMatch(/TS2322/)
})
