import { execFileSync } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { sample } from '../support/effort.ts'

// What an import costs: which modules it loads. And that entries which are bundled share what must be there only once.

const root = fileURLToPath(new URL('../../', import.meta.url))
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  exports: Record<string, string | { default: string }>
}
const entries = Object.entries(exports).flatMap(([name, entry]) =>
  typeof entry === 'string' ? [] : [{ name: name.replace('.', 'holdfast'), file: entry.default }],
)

/** Each takes a process: a quick run has the first, and some of the others. */
const tried = [entries[0]!, ...sample('entries', entries.slice(1), 5)]

/** Module hooks that print what is loaded. */
const hooks = `data:text/javascript,${encodeURIComponent(`
  import { writeSync } from 'node:fs'
  export async function load(url, context, next) {
    writeSync(1, 'loaded ' + url + '\\n')
    return await next(url, context)
  }`)}`

/** What a program loads: ES modules by their URL, CommonJS modules and addons by their path. */
function loadedBy(program: string): string[] {
  const source = `
    import { createRequire, register } from 'node:module'
    register(${JSON.stringify(hooks)})
    ${program}
    for (const path of Object.keys(createRequire(${JSON.stringify(import.meta.url)}).cache)) console.log('loaded ' + path)`
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', source], { cwd: root, encoding: 'utf8' })
  return said
    .split('\n')
    .filter((line) => line.startsWith('loaded '))
    .map((line) => line.slice('loaded '.length))
}

const isLazy = (path: string) =>
  /node_modules\/(@bokuweb|zstddec|@napi-rs|fs-native-extensions)\/|\.node$/.test(path) || isSchemaLibrary(path)

/** Part of zod is in a chunk of ours. */
function isSchemaLibrary(path: string): boolean {
  return (
    /^file:.*\/dist\/.*\.js$/.test(path) &&
    !path.includes('node_modules') &&
    readFileSync(fileURLToPath(path), 'utf8').includes('$ZodType')
  )
}

test.each(tried)('importing $name loads few files, no schema library, no compressor and no addon', ({ name }) => {
  const loaded = loadedBy(`await import(${JSON.stringify(name)})`).filter((path) => !path.startsWith('node:'))
  expect(loaded.length).toBeGreaterThan(0)
  // A chunk for whatever two entries share, and no package of many files.
  expect(loaded.length).toBeLessThan(48)
  expect(loaded.filter(isLazy)).toEqual([])
})

test('the schema library is loaded when a store is used', () => {
  const loaded = loadedBy(`
    const { memory } = await import('holdfast')
    await memory().persist({ blobs: { a: 'text '.repeat(100_000) } })`)
  expect(loaded.filter(isSchemaLibrary)).toHaveLength(1)
})

test('what all entries share is in the package once', () => {
  const files = readdirSync(join(root, 'dist'), { recursive: true, encoding: 'utf8' }).filter((path) =>
    path.endsWith('.js'),
  )
  const having = (text: string) => files.filter((path) => readFileSync(join(root, 'dist', path), 'utf8').includes(text))
  // The state of each directory, the worker pool, the class of errors.
  for (const text of ['sharedByPath = ', 'function sharedPool(', 'HoldfastError = class ']) {
    expect(having(text), text).toHaveLength(1)
  }
})

test('an error of one entry is an error of every other', () => {
  const program = `
    import { HoldfastError } from 'holdfast'
    import { writeFileDurable } from 'holdfast/durable'
    import { persistEngine } from 'holdfast/engines'
    const error = await writeFileDurable('/dev/null/file', 'x').catch((error) => error)
    console.log(error instanceof HoldfastError)`
  const said = execFileSync(process.execPath, ['--input-type=module', '-e', program], { cwd: root, encoding: 'utf8' })
  expect(said).toBe('true\n')
})
