import { spawnSync } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { expect, test } from 'vitest'
import { scratch } from '../support/scratch.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const text = readFileSync(join(root, 'docs/durable.md'), 'utf8')
const examples = [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!)
const sources = { 'holdfast/durable': join(root, 'src/durable.ts'), holdfast: join(root, 'src/index.ts') }

/** A directory with the examples, and the packages of this one. */
function place(): string {
  const path = scratch()
  symlinkSync(join(root, 'node_modules'), join(path, 'node_modules'))
  for (const [index, code] of examples.entries()) writeFileSync(join(path, `${index}.ts`), code)
  return path
}

test('the examples in docs/durable.md compile', () => {
  expect(examples.length).toBeGreaterThanOrEqual(7)
  const path = place()
  const paths = Object.fromEntries(Object.entries(sources).map(([name, source]) => [name, [source]]))
  const config = {
    extends: join(root, 'tsconfig.json'),
    compilerOptions: { paths, typeRoots: [join(root, 'node_modules/@types')] },
    include: ['*.ts'],
  }
  writeFileSync(join(path, 'tsconfig.json'), JSON.stringify(config))
  writeFileSync(join(path, 'package.json'), JSON.stringify({ type: 'module' }))
  const { status, stdout } = spawnSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', path], {
    encoding: 'utf8',
  })
  expect([stdout, status]).toEqual(['', 0])
})

test('the examples in docs/durable.md run, one after the other', async () => {
  const path = place()
  mkdirSync(join(path, 'index'))
  writeFileSync(join(path, 'index', 'links'), '')
  utimesSync(join(path, 'index', 'links'), 1_000_000, 1_000_000)
  writeFileSync(join(path, 'data.sqlite'), '')
  writeFileSync(join(path, 'registry.json.123456'), 'left')
  utimesSync(join(path, 'registry.json.123456'), 1_000_000, 1_000_000)
  const said: string[] = []
  for (const index of examples.keys()) {
    const outfile = join(path, `${index}.mjs`)
    await build({
      entryPoints: [join(path, `${index}.ts`)],
      outfile,
      bundle: true,
      platform: 'node',
      format: 'esm',
      packages: 'external',
      alias: sources,
      logLevel: 'error',
    })
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', outfile], {
      cwd: path,
      encoding: 'utf8',
    })
    expect(status, `${examples[index]}\n${stderr}`).toBe(0)
    said.push(stdout)
  }
  const left = readdirSync(path)
  expect(readFileSync(join(path, 'registry.json'), 'utf8')).toContain('articles')
  expect(said.join('')).toContain('1 removed, 0 kept')
  expect(said.join('')).toContain('rows: 10412')
  expect(left.filter((name) => name.startsWith('articles.idx.wrong-dimensions.'))).toHaveLength(2)
  expect(left.filter((name) => name.startsWith('index.stale.'))).toHaveLength(2)
  expect(left).not.toContain('articles.idx')
})
