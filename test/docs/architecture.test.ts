import { readdirSync, readFileSync } from 'node:fs'
import { posix } from 'node:path'
import { expect, test } from 'vitest'
import { bundledPackages } from '../support/bundled.ts'

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
const harmless = /^node:(buffer|crypto|diagnostics_channel|events|os|path|process|readline|url|util)$/

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

test('every file of src/ opens with a comment that says what it is for', () => {
  const headless = [...sources].filter(([, source]) => !/^\/[/*]/.test(source)).map(([path]) => path)
  expect(headless).toEqual([])
})

test('comments are no wider than the code', () => {
  const wide = [...sources].flatMap(([path, source]) =>
    source
      .split('\n')
      .flatMap((line, i) => (/^\s*(\/\/|\*|\/\*)/.test(line) && line.length > 120 ? [`${path}:${i + 1}`] : [])),
  )
  expect(wide).toEqual([])
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
  if (!sources.has(to)) return isOurs(packageName(to)) || allowed.includes(packageName(to))
  return layerOf(to) === layerOf(from) || allowed.includes(to) || allowed.includes(layerOf(to))
}

const { dependencies, exports: exportsOf } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as {
  dependencies: Record<string, string>
  exports: Record<string, string | { default: string }>
}

const bundled = bundledPackages()

/** Whether users install it, or have it in what they install. */
function isOurs(name: string): boolean {
  return name in dependencies || bundled.includes(name)
}

function packageName(specifier: string): string {
  const parts = specifier.split('/')
  return parts.slice(0, specifier.startsWith('@') ? 2 : 1).join('/')
}

test('no file imports itself by way of others, and no layer another that imports it', () => {
  const byFile = graphOf(imports.filter(({ to }) => sources.has(to)))
  expect(circlesIn(byFile)).toEqual([])
  const between = imports
    .filter(({ to }) => sources.has(to))
    .map(({ from, to }) => ({ from: folderOf(from), to: folderOf(to) }))
    .filter(({ from, to }) => from !== to)
  expect(circlesIn(graphOf(between))).toEqual([])
})

/** A file at the top is a layer of its own. */
function folderOf(path: string): string {
  return path.includes('/') ? path.split('/')[0]! : path
}

function graphOf(edges: readonly Import[]): Map<string, Set<string>> {
  const graph = new Map<string, Set<string>>()
  for (const { from, to } of edges) graph.set(from, (graph.get(from) ?? new Set()).add(to))
  return graph
}

/** The first circle through each node that has one, as `a → b → a`. */
function circlesIn(graph: ReadonlyMap<string, ReadonlySet<string>>): string[] {
  const done = new Set<string>()
  const circles: string[] = []
  function visit(node: string, path: string[]): void {
    const at = path.indexOf(node)
    if (at !== -1) circles.push([...path.slice(at), node].join(' → '))
    if (at !== -1 || done.has(node)) return
    for (const next of graph.get(node) ?? []) visit(next, [...path, node])
    done.add(node)
  }
  for (const node of graph.keys()) visit(node, [])
  return circles
}

test('what a file exports, another file or a test imports', () => {
  const entries = new Set(
    Object.values(exportsOf).flatMap((entry) =>
      typeof entry === 'string' ? [] : [entry.default.slice('./dist/'.length).replace(/\.js$/, '.ts')],
    ),
  )
  // Names, wherever they are imported from: two exports of one name are two things to rename.
  const imported = new Map<string, Set<string>>()
  for (const [path, source] of [...sources, ...readAll('test/'), ...readAll('bench/')]) {
    for (const [, names] of source.matchAll(/^(?:import|export) (?:type )?\{([^}]*)\} from '/gm)) {
      for (const [name] of names!.matchAll(/\w+/g)) imported.set(name, (imported.get(name) ?? new Set()).add(path))
    }
    for (const [, names] of source.matchAll(/\bconst \{([^}]*)\} = await (?:import\(|original)/g)) {
      for (const [name] of names!.matchAll(/\w+/g)) imported.set(name, (imported.get(name) ?? new Set()).add(path))
    }
  }
  const unused: string[] = []
  for (const [path, source] of sources) {
    if (entries.has(path)) continue
    for (const [, name] of source.matchAll(
      /^export (?:async )?(?:function\*?|const|let|class|interface|type) (\w+)/gm,
    )) {
      const by = imported.get(name!) ?? new Set()
      if (![...by].some((other) => other !== path)) unused.push(`${path}: ${name}`)
    }
  }
  expect(unused).toEqual([])
})

function readAll(folder: string): [string, string][] {
  return readdirSync(new URL(folder, root), { recursive: true, encoding: 'utf8' })
    .filter((path) => /\.m?ts$|\.mjs$/.test(path) && !path.includes('node_modules'))
    .map((path) => [folder + path, readFileSync(new URL(folder + path, root), 'utf8')])
}

test('only clock.ts uses the global clock, timers and chance', () => {
  const globals =
    /\b(?:set|clear)(?:Timeout|Interval|Immediate)\b|\bqueueMicrotask\b|\bnextTick\b|\bhrtime\b|\bperformance\b|\bDate\.now\b|\bnew Date\(\)|\bMath\.random\b|\bAbortSignal\.timeout\b|node:timers/
  const users = [...sources].filter(([, source]) => globals.test(withoutComments(source))).map(([path]) => path)
  expect(users).toEqual(['clock.ts'])
})

function withoutComments(source: string): string {
  return source.replaceAll(/\/\*[\s\S]*?\*\/|^\s*\/\/.*$/gm, '')
}

test('only fs/lock.ts loads the lock addon, by way of native.ts', () => {
  const loaders = files.filter((path) => /['"`]fs-native-extensions['"`/]/.test(sources.get(path)!))
  expect(loaders.sort()).toEqual(['fs/lock.ts', 'native.ts'])
})

test('every dependency is used', () => {
  const imported = new Set(imports.map(({ to }) => packageName(to)))
  for (const name of Object.keys(dependencies)) {
    // Addons are loaded by name at run time.
    const isUsed = imported.has(name) || [...sources.values()].some((source) => source.includes(`'${name}'`))
    expect(isUsed, name).toBe(true)
  }
})
