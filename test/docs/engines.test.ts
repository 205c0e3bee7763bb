import { spawnSync } from 'node:child_process'
import { readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import type { Results } from '../../bench/adapters/result.ts'
import { fillIn } from '../../bench/adapters/tables.ts'
import { scratch } from '../support/scratch.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const page = readFileSync(join(root, 'docs/engines.md'), 'utf8')
const examples = [...page.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!)
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: object }
const names = Object.keys(exports).flatMap((path) => /^\.\/engines\/(.+)$/.exec(path)?.[1] ?? [])
const sources: Record<string, string> = {
  ...Object.fromEntries(names.map((name) => [`holdfast/engines/${name}`, join(root, `src/engines/${name}.ts`)])),
  'holdfast/engines': join(root, 'src/engines/index.ts'),
  holdfast: join(root, 'src/index.ts'),
}

/** What an example takes from its surroundings. */
const surroundings = `
import type MiniSearch from 'minisearch'
import type { Store } from 'holdfast'
import type { EngineAdapter } from 'holdfast/engines'
import type { UsearchLike } from 'holdfast/engines/usearch'
declare global {
  const Index: new (options: { dimensions: number; metric: string }) => UsearchLike
  const store: Store
  const adapter: EngineAdapter<MiniSearch>
  const engine: MiniSearch
  const options: { fields: string[] }
  const documents: Map<number, string>
  const lastSequenceIndexed: number
  const source: { lastSequence(): Promise<number>; changesAfter(sequence: unknown): AsyncIterable<string> }
  const change: string
  const log: { error(fields: object, message: string): void }
  function apply(engine: MiniSearch, change: string): void
  class MyEngine {
    toBytes(): Uint8Array
    save(path: string): void
    static load(path: string): MyEngine
    static fromBytes(bytes: Uint8Array): MyEngine
    search(text: string): string[]
  }
  function addDocuments(engine: MyEngine, first: number, count: number): void
}
`

function place(): string {
  const path = scratch()
  symlinkSync(join(root, 'node_modules'), join(path, 'node_modules'))
  writeFileSync(join(path, 'package.json'), JSON.stringify({ type: 'module' }))
  for (const [index, code] of examples.entries()) {
    // The examples for engines of one's own have one.
    const own = code.includes('MyEngine') || code.includes("name: 'my-engine'")
    const declared = own ? 'declare const engine: MyEngine\n' : 'export {}\n'
    const adapter = own && !code.includes('const adapter') ? ownAdapter : ''
    writeFileSync(join(path, `${index}.ts`), `${code}${declared}${adapter}`)
  }
  return path
}

const ownAdapter = "declare const adapter: import('holdfast/engines').EngineAdapter<MyEngine>\n"

test('the examples compile', () => {
  expect(examples.length).toBeGreaterThanOrEqual(5)
  const path = place()
  writeFileSync(join(path, 'surroundings.ts'), surroundings)
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: {
      paths: Object.fromEntries(Object.entries(sources).map(([name, file]) => [name, [file]])),
      typeRoots: [join(root, 'node_modules/@types')],
    },
    include: ['*.ts'],
  }
  writeFileSync(join(path, 'tsconfig.json'), JSON.stringify(config))
  const { status, stdout } = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', path], {
    encoding: 'utf8',
  })
  expect([stdout, status]).toEqual(['', 0])
})

test('the first example runs, twice', async () => {
  const path = place()
  const outfile = join(path, '0.mjs')
  await build({
    entryPoints: [join(path, '0.ts')],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    packages: 'external',
    alias: sources,
    logLevel: 'error',
    footer: { js: 'console.log(engine.documentCount, restored === null)' },
  })
  const run = (): string => {
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', outfile], {
      cwd: path,
      encoding: 'utf8',
    })
    expect(status, stderr).toBe(stdout === '' ? 1 : 0)
    return stdout + stderr
  }
  expect(run()).toBe('1 true\n')
  // The document is there already, and MiniSearch says so.
  expect(run()).toContain('duplicate ID 1')
})

test('the tables are those of the results', () => {
  const results = JSON.parse(readFileSync(join(root, 'bench/adapters/results.json'), 'utf8')) as Results
  expect(fillIn(page, results)).toBe(page)
})
