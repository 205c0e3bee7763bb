import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { expect, test } from 'vitest'

const root = new URL('../../', import.meta.url)

/** The table of docs/architecture.md: what each layer may import. */
const page = readFileSync(new URL('docs/architecture.md', root), 'utf8')
const rules = new Map(
  [...page.matchAll(/^\| `([^`]+)` \|(.*)\|$/gm)].map(([, layer, allowed]) => [
    layer!,
    [...allowed!.matchAll(/`([^`]+)`/g)].map(([, name]) => name!),
  ]),
)

/** Of Node, what computes or tells and changes nothing outside the process. The format's code does without. */
const harmless = /^node:(buffer|crypto|diagnostics_channel|events|os|path|process|readline|timers\/promises|url|util)$/

interface Import {
  from: string
  /** A path in `src/`, or a module's name. */
  to: string
}

const files = readdirSync(new URL('src/', root), { recursive: true, encoding: 'utf8' })
  .map((path) => path.replaceAll('\\', '/'))
  // Compiled by another compiler, imported by nobody.
  .filter((path) => path.endsWith('.ts') && !path.startsWith('workers/assembly/'))
const sources = new Map(files.map((path) => [path, readFileSync(new URL(`src/${path}`, root), 'utf8')]))
const imports = [...sources].flatMap(([path, source]) => importsOf(path, source))

function importsOf(path: string, source: string): Import[] {
  const clauses = source.matchAll(
    /^(?:import|export)(?: type)?\s[\w\s*{},]*?from '([^']+)'|^import '([^']+)'|\bimport\('([^']+)'\)/gm,
  )
  return [...clauses].map(([, from, effect, dynamic]) => {
    const specifier = (from ?? effect ?? dynamic)!
    return { from: path, to: specifier.startsWith('.') ? posix.join(posix.dirname(path), specifier) : specifier }
  })
}

/** A file has the row of its own, or else that of its folder. */
function layerOf(path: string): string {
  if (rules.has(path)) return path
  return path.includes('/') ? `${path.split('/')[0]}/` : path
}

test('every file of src/ belongs to a layer of docs/architecture.md, and every layer has files', () => {
  expect([...new Set(files.map(layerOf))].sort()).toEqual([...rules.keys()].sort())
})

test('a layer imports only what docs/architecture.md allows it', () => {
  const forbidden = imports.filter(({ from, to }) => !isAllowed(from, to))
  expect(forbidden).toEqual([])
  // That the imports were found at all.
  expect(imports.length).toBeGreaterThan(files.length)
})

function isAllowed(from: string, to: string): boolean {
  const allowed = rules.get(layerOf(from))!
  if (to.startsWith('node:')) {
    const isHarmless = harmless.test(to) && layerOf(from) !== 'format/'
    return isHarmless || allowed.some((name) => to === name || to.startsWith(`${name}/`))
  }
  if (!sources.has(to)) return packageName(to) in dependencies
  return layerOf(to) === layerOf(from) || allowed.includes(to) || allowed.includes(layerOf(to))
}

const { dependencies } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
  dependencies: Record<string, string>
}

function packageName(specifier: string): string {
  const parts = specifier.split('/')
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
}

test('only fs/lock.ts loads the lock addon', () => {
  const loaders = files.filter((path) => /['"`]fs-native-extensions['"`/]/.test(sources.get(path)!))
  expect(loaders).toEqual(['fs/lock.ts'])
})

test('every dependency is used', () => {
  const imported = new Set(imports.map(({ to }) => packageName(to)))
  for (const name of Object.keys(dependencies)) {
    // Addons are loaded by name at run time.
    const isUsed = imported.has(name) || [...sources.values()].some((source) => source.includes(`'${name}'`))
    expect(isUsed, name).toBe(true)
  }
})
