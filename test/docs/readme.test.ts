import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { bundledPackages } from '../support/bundled.ts'

const root = fileURLToPath(new URL('../../', import.meta.url))
const pages = ['README.md', 'docs/errors.md', 'docs/architecture.md']

test('the examples of the documents are valid TypeScript', () => {
  const directory = mkdtempSync(join(tmpdir(), 'holdfast-readme-'))
  try {
    const examples = pages.flatMap((page) => examplesOf(page))
    expect(examples.length).toBeGreaterThan(1)
    for (const [index, example] of examples.entries()) writeFileSync(join(directory, `example-${index}.ts`), example)
    writeFileSync(join(directory, 'package.json'), '{ "type": "module" }')
    writeFileSync(join(directory, 'tsconfig.json'), JSON.stringify({ compilerOptions: compilerOptions() }))
    expect(compile(directory)).toBe('')
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test("the embedder's example in the README fits a screen and has ten lines of code", () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const [example] = examplesOf('README.md')
  const lines = example!.split('\n').filter((line) => line.trim() !== '' && !line.startsWith('//'))
  expect(lines.length).toBeLessThanOrEqual(10)
  expect(readme.slice(0, readme.indexOf(example!) + example!.length).split('\n').length).toBeLessThan(40)
})

test('the README begins with the two commands, which exist', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  const commands = [...readme.slice(0, 800).matchAll(/^npm (?:run )?(\w+)/gm)].map(([, name]) => name!)
  expect(commands).toEqual(['demo', 'test'])
  for (const name of commands) expect(scripts).toHaveProperty(name)
})

test.each(pages)('every link in %s leads to a file', (page) => {
  const text = readFileSync(join(root, page), 'utf8')
  for (const [, target] of text.matchAll(/\]\(([^)#]+)\)/g)) {
    if (!/^https?:/.test(target!)) expect(existsSync(join(root, page, '..', target!)), target).toBe(true)
  }
})

test('the README names every dependency and no other, and what is bundled', () => {
  const readme = readFileSync(join(root, 'README.md'), 'utf8')
  const section = readme.slice(readme.indexOf('## Dependencies'), readme.indexOf('## Documents'))
  const [installed, inside] = section.split('| in `dist/` |') as [string, string]
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { dependencies: object }
  expect(namedIn(installed).sort()).toEqual(Object.keys(dependencies).sort())
  const bundled = bundledPackages()
  expect(bundled).toEqual(expect.arrayContaining(namedIn(inside)))
  expect(inside).toContain(`with ${bundled.length - namedIn(inside).length} small packages`)
})

/** The names in the first column of its table. */
function namedIn(text: string): string[] {
  const rows = text.split('\n').filter((line) => line.startsWith('| `'))
  return rows.flatMap((row) => [...row.split('|')[1]!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!))
}

interface Entry {
  types?: string
}

function examplesOf(page: string): string[] {
  const text = readFileSync(join(root, page), 'utf8')
  return [...text.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!)
}

function compilerOptions(): object {
  const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { exports: Record<string, Entry> }
  const entries = Object.entries(exports).map(([path, { types }]) => [
    `holdfast${path.slice(1)}`,
    [join(root, types ?? path)],
  ])
  return {
    noEmit: true,
    strict: true,
    exactOptionalPropertyTypes: true,
    module: 'NodeNext',
    target: 'ES2022',
    lib: ['ES2023', 'ESNext.Disposable'],
    skipLibCheck: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
    paths: {
      ...Object.fromEntries(entries),
      minisearch: [join(root, 'node_modules/minisearch/dist/es/index.d.ts')],
    },
  }
}

/** What the compiler says; nothing when it is content. */
function compile(directory: string): string {
  try {
    return execFileSync(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), '-p', directory], {
      encoding: 'utf8',
    })
  } catch (error) {
    return (error as { stdout: string }).stdout
  }
}
