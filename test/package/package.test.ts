import { execFile } from 'node:child_process'
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { build } from 'esbuild'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bundledPackages } from '../support/bundled.ts'

// What npm would publish: packed, installed into an empty project, compiled against, run, bundled.

const root = fileURLToPath(new URL('../../', import.meta.url))
const app = join(root, 'test/package/app.ts')
const manifest = readJson(join(root, 'package.json'))
const directory = mkdtempSync(join(tmpdir(), 'holdfast-package-'))
const packed = join(directory, 'packed')
const project = join(directory, 'project')
const installed = join(project, 'node_modules/holdfast')
let tarball: string

beforeAll(async () => {
  // A build of its own, so that nothing left over from another one is packed.
  mkdirSync(packed)
  for (const path of ['package.json', 'README.md', ...manifest.files]) {
    if (path !== 'dist' && existsSync(join(root, path)))
      cpSync(join(root, path), join(packed, path), { recursive: true })
  }
  const dist = join(packed, 'dist')
  await node(root, tsc(), '-p', 'tsconfig.build.json', '--emitDeclarationOnly', '--declarationDir', dist)
  await node(root, join(root, 'src/bundle.mjs'), dist)
  const { stdout } = await npm(packed, 'pack', '--ignore-scripts', '--json')
  tarball = join(packed, JSON.parse(stdout)[0].filename)

  mkdirSync(project)
  writeJson(join(project, 'package.json'), { name: 'project', private: true, type: 'module' })
  await npm(project, 'install', '--prefer-offline', '--no-audit', '--no-fund', tarball)
})

afterAll(() => rmSync(directory, { recursive: true, force: true }))

test('the tarball has the build and its documents, and nothing of the development', () => {
  const files = readdirSync(installed, { recursive: true, encoding: 'utf8', withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) =>
      join(entry.parentPath, entry.name)
        .slice(installed.length + 1)
        .replaceAll('\\', '/'),
    )
  const unexpected = files.filter(
    (path) =>
      !/^(package\.json|[A-Z]+\.md|LICENSE(-\w+)?|docs\/[\w/-]+\.(md|svg|png|schema\.json)|dist\/(.*\.(js|d\.ts)|THIRD-PARTY-LICENSES\.txt))$/.test(
        path,
      ),
  )
  expect(unexpected).toEqual([])
  expect(files).toEqual(
    expect.arrayContaining(['README.md', 'LICENSE-MIT', 'docs/format.md', 'docs/errors.md', 'dist/index.d.ts']),
  )
})

test('the licence of each package that is bundled is passed on', () => {
  const text = readFileSync(join(installed, 'dist/THIRD-PARTY-LICENSES.txt'), 'utf8')
  const named = new Set([...text.matchAll(/^Parts of (\S+) \d/gm)].map(([, name]) => name))
  expect([...named]).toEqual(bundledPackages())
})

test('what is published imports only dependencies, and knows nothing of the machine that built it', () => {
  const dist = join(installed, 'dist')
  const allowed = new RegExp(`^(\\.|node:|(${Object.keys(manifest.dependencies).join('|')})(/|$))`)
  let imports = 0
  for (const path of readdirSync(dist, { recursive: true, encoding: 'utf8' })) {
    if (!/\.(js|d\.ts)$/.test(path)) continue
    const text = readFileSync(join(dist, path), 'utf8')
    for (const [, specifier] of text.matchAll(/^(?:import|export|\}).*? from '([^']+)'|^import '([^']+)'/gm)) {
      expect(specifier, path).toMatch(allowed)
      imports += 1
    }
    for (const place of [root, directory, join(homedir(), '/')])
      expect(text.includes(place), `${path} has ${place}`).toBe(false)
  }
  expect(imports).toBeGreaterThan(100)
})

test('the packed package is what publint and are-the-types-wrong want it to be', async () => {
  await node(packed, join(root, 'node_modules/publint/src/cli.js'), 'run', tarball, '--strict')
  // ES modules only (docs/decisions/0009-es-modules-only.md): that `require` of an old TypeScript finds none is meant.
  await node(packed, join(root, 'node_modules/@arethetypeswrong/cli/dist/index.js'), tarball, '--profile', 'esm-only')
})

test('an empty TypeScript project compiles against it, all declarations checked, and persists and loads', async () => {
  cpSync(app, join(project, 'app.ts'))
  writeJson(join(project, 'tsconfig.json'), {
    compilerOptions: {
      module: 'NodeNext',
      target: 'ES2022',
      lib: ['ES2023', 'ESNext.Disposable'],
      strict: true,
      exactOptionalPropertyTypes: true,
      noUncheckedIndexedAccess: true,
      skipLibCheck: false,
      outDir: 'out',
      types: ['node'],
      typeRoots: [join(root, 'node_modules/@types')],
    },
    files: ['app.ts'],
  })
  await node(project, tsc(), '-p', '.')
  await persistAndLoad(project, 'out/app.js')
})

test('npx finds the program, which saves and lists', async () => {
  const store = join(project, 'program-store')
  const program = join(project, 'node_modules/.bin/holdfast')
  const run = (...args: string[]) =>
    promisify(execFile)(program, args, { encoding: 'utf8', shell: process.platform === 'win32' })
  expect((await run('--version')).stdout).toBe(`${manifest.version}\n`)
  await run('persist', '--init', `a=${join(project, 'package.json')}`, '--store', store)
  const { stdout } = await run('snapshots', '--store', store, '--json')
  expect(JSON.parse(stdout).snapshots).toHaveLength(1)
  expect(existsSync(join(installed, 'docs/command-line.schema.json'))).toBe(true)
})

test.each(['esm', 'cjs'] as const)(
  'bundled by esbuild as %s it persists and loads, with only the addons beside it',
  async (format) => {
    const home = await bundle(format)
    // The addons are resolved at run time: of all packages they alone must be there.
    mkdirSync(join(home, 'node_modules'))
    for (const addon of ['@napi-rs', 'fs-native-extensions', ...addonDependencies()]) {
      symlinkSync(join(project, 'node_modules', addon), join(home, 'node_modules', addon), 'junction')
    }
    await persistAndLoad(home, `app.${extension(format)}`)
  },
)

test.each(['esm', 'cjs'] as const)(
  'bundled by esbuild as %s it reads where the addons do not load, warns once, and does not write',
  async (format) => {
    const home = await bundle(format)
    // That they are merely not there would leave it to the directories above whether there are any.
    for (const addon of Object.keys(manifest.dependencies)) {
      mkdirSync(join(home, 'node_modules', addon), { recursive: true })
      writeFileSync(join(home, 'node_modules', addon, 'index.js'), 'throw new Error("does not load here")')
    }
    const store = join(directory, `written-${format}`)
    await run(project, 'out/app.js', 'persist', store)

    const loaded = await run(home, `app.${extension(format)}`, 'load', store)
    expect(loaded.answer).toEqual(whatWasPersisted)
    expect(loaded.stderr.match(/SLOW_HASH/g)).toHaveLength(1)

    const persisted = await run(home, `app.${extension(format)}`, 'persist', store)
    expect(persisted.answer).toEqual({ code: 'LOCK_UNAVAILABLE', kind: 'environment' })
  },
)

const whatWasPersisted = { sequence: 2, keys: 10_412, isLarge: true, small: 'a few words' }

const threadCounter = join(root, 'test/package/count-threads.cjs')

async function persistAndLoad(home: string, script: string): Promise<void> {
  const store = join(home, 'store')
  const persisted = await run(home, script, 'persist', store, '--require', threadCounter)
  expect(persisted.answer).toMatchObject({ sequence: 2, unchanged: false })
  // A worker that cannot start is done without, silently: so it is looked for.
  expect(persisted.stderr).toMatch(/^[1-9]\d* threads\n$/)
  const loaded = await run(home, script, 'load', store)
  expect(loaded.answer).toEqual(whatWasPersisted)
  expect(loaded.stderr).toBe('')
}

async function bundle(format: 'esm' | 'cjs'): Promise<string> {
  const home = mkdtempSync(join(directory, `bundle-${format}-`))
  await build({
    entryPoints: [app],
    absWorkingDir: project,
    // Of the installed package, not of this one.
    alias: { holdfast: join(installed, 'dist/index.js') },
    bundle: true,
    platform: 'node',
    target: 'node20.12',
    format,
    outfile: join(home, `app.${extension(format)}`),
    // That `import.meta` is empty in CommonJS is what is tested here.
    logLevel: 'error',
  })
  return home
}

function extension(format: 'esm' | 'cjs'): string {
  return format === 'esm' ? 'mjs' : 'cjs'
}

/** What the lock addon requires to find its own binary. */
function addonDependencies(): string[] {
  const names = new Set<string>()
  const pending = ['fs-native-extensions']
  for (let name = pending.pop(); name !== undefined; name = pending.pop()) {
    const { dependencies = {} } = readJson(join(project, 'node_modules', name, 'package.json'))
    for (const next of Object.keys(dependencies)) {
      if (names.has(next)) continue
      names.add(next)
      pending.push(next)
    }
  }
  return [...names]
}

async function run(
  home: string,
  script: string,
  verb: string,
  store: string,
  ...nodeOptions: string[]
): Promise<{ answer: unknown; stderr: string }> {
  const { stdout, stderr } = await node(home, ...nodeOptions, script, verb, store)
  return { answer: JSON.parse(stdout), stderr }
}

async function node(cwd: string, ...args: string[]): Promise<{ stdout: string; stderr: string }> {
  try {
    return await promisify(execFile)(process.execPath, args, { cwd, encoding: 'utf8' })
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string }
    throw new Error(`${args.join(' ')}\n${stdout}${stderr}`)
  }
}

/** By the npm that runs this, so that no shell is needed on Windows. */
async function npm(cwd: string, ...args: string[]): Promise<{ stdout: string }> {
  const cli = process.env.npm_execpath
  if (cli?.endsWith('.js') === true) return await node(cwd, cli, ...args)
  return await promisify(execFile)('npm', args, { cwd, encoding: 'utf8', shell: process.platform === 'win32' })
}

function tsc(): string {
  return join(root, 'node_modules/typescript/bin/tsc')
}

function readJson(path: string): { version: string; files: string[]; dependencies: Record<string, string> } {
  return JSON.parse(readFileSync(path, 'utf8'))
}

function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`)
}
