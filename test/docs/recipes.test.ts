import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { transform } from 'esbuild'
import { afterAll, expect, test } from 'vitest'

// The examples of docs/recipes.md and docs/deployment.md, against the built package: all compile, and those that need
// no native engine run.

const root = fileURLToPath(new URL('../../', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'holdfast-recipes-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** An empty project in which holdfast and the packages of this one are installed. */
function project(name: string): string {
  const path = join(directory, name)
  mkdirSync(join(path, 'node_modules', '@types'), { recursive: true })
  symlinkSync(root, join(path, 'node_modules', 'holdfast'), 'junction')
  for (const each of ['minisearch', '@types/node', 'vitest']) {
    symlinkSync(join(root, 'node_modules', each), join(path, 'node_modules', each), 'junction')
  }
  writeFileSync(join(path, 'package.json'), '{ "type": "module" }')
  return path
}

const examples = ['docs/recipes.md', 'docs/deployment.md'].flatMap((page) =>
  [...readFileSync(join(root, page), 'utf8').matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!),
)

/** The example with this in it. */
function exampleWith(text: string): string {
  const [example, ...others] = examples.filter((code) => code.includes(text))
  expect(others).toEqual([])
  return example!
}

/** Runs an example, with more code behind it; answers what it wrote. */
async function run(path: string, example: string, more: string): Promise<string> {
  const { code } = await transform(`${example}\n${more}`, { loader: 'ts', format: 'esm', target: 'node20' })
  writeFileSync(join(path, 'example.mjs'), code)
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--no-warnings', 'example.mjs'], {
    cwd: path,
    encoding: 'utf8',
  })
  expect(status, stderr).toBe(0)
  return stdout
}

/** What an example takes from its surroundings, and packages that are not installed here. */
const surroundings = `
declare module 'node:sqlite'
declare module 'usearch'
declare module 'hnswlib-node'
declare module '@langchain/community/stores/doc/in_memory'
declare module '@langchain/community/vectorstores/hnswlib'
declare const embeddings: unknown
declare const newDocuments: unknown[]
`

test('the examples compile', () => {
  expect(examples.length).toBeGreaterThanOrEqual(6)
  const path = project('compile')
  for (const [index, code] of examples.entries()) writeFileSync(join(path, `${index}.ts`), `${code}export {}\n`)
  writeFileSync(join(path, 'surroundings.d.ts'), surroundings)
  writeFileSync(
    join(path, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        noEmit: true,
        strict: true,
        exactOptionalPropertyTypes: true,
        module: 'NodeNext',
        target: 'ES2022',
        lib: ['ES2023', 'ESNext.Disposable', 'DOM'],
        skipLibCheck: true,
        preserveSymlinks: false,
        types: ['node'],
      },
    }),
  )
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const { stdout, status } = spawnSync(process.execPath, [tsc, '-p', path], { encoding: 'utf8' })
  expect([stdout, status]).toEqual(['', 0])
})

test('documents beside an index come back with it', async () => {
  const path = project('documents')
  const example = exampleWith('interface Article')
  const said = "console.log(index.documentCount, documents.size, index.search('rock')[0]?.id, restored === null)"
  expect(await run(path, example, said)).toBe('1 1 1 true\n')
  expect(await run(path, example, said)).toBe('1 1 1 false\n')
})

test('a directory comes back as it was', async () => {
  const path = project('directory')
  mkdirSync(join(path, 'index', 'segments'), { recursive: true })
  writeFileSync(join(path, 'index', 'segments', '1'), 'one')
  await run(path, exampleWith('directory: '), '')
  expect(readFileSync(join(path, 'index', 'segments', '1'), 'utf8')).toBe('one')
})

test('a service saves its last change when it is stopped, and a reader sees it', async () => {
  const path = project('service')
  // A service has a server that keeps it alive.
  const stop = "setTimeout(() => {}, 30_000)\nprocess.kill(process.pid, 'SIGTERM')\n"
  const { code } = await transform(`${exampleWith('a change')}\n${stop}`, { loader: 'ts', target: 'node20' })
  writeFileSync(join(path, 'service.mjs'), code)
  const { signal } = spawnSync(process.execPath, ['service.mjs'], { cwd: path })
  expect(signal).toBe('SIGTERM')
  expect(await run(path, exampleWith('setInterval'), 'console.log(current.engine.documentCount)')).toBe('1\n')
})

test('docs/deployment.md names every package that must be found at run time', () => {
  const page = readFileSync(join(root, 'docs/deployment.md'), 'utf8')
  const pending = ['fs-native-extensions', '@napi-rs/blake-hash', '@bokuweb/zstd-wasm']
  const needed = new Set<string>()
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    needed.add(name)
    const manifest = readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')
    const { dependencies = {} } = JSON.parse(manifest) as { dependencies?: object }
    pending.push(...Object.keys(dependencies).filter((each) => !needed.has(each)))
  }
  for (const name of needed) expect(page).toContain(`\`${name}\``)
})
