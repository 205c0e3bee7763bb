// Installs the native engines beside this file, builds what has to be built, and says what works. Run by `npm run
// engines`; with names, those alone: `npm run engines better-sqlite3`.
import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))

/** Each with a program that fails when it does not work, and how long a build takes. */
const all = [
  {
    name: 'hnswlib-node',
    tries: "new (require('hnswlib-node').HierarchicalNSW)('l2', 4).initIndex(1)",
    build: 'half a minute',
  },
  { name: 'usearch', tries: "new (require('usearch').Index)({ dimensions: 4, metric: 'cos' })", build: 'a minute' },
  { name: 'better-sqlite3', tries: "new (require('better-sqlite3'))(':memory:')", build: 'three minutes' },
]

const wanted = process.argv.slice(2)
const engines = wanted.length === 0 ? all : all.filter(({ name }) => wanted.includes(name))

function npm(...args) {
  const cli = process.env.npm_execpath
  // By the npm that runs this, so that no shell is needed on Windows.
  const [command, first] = cli?.endsWith('.js') ? [process.execPath, [cli]] : ['npm', []]
  const shell = command === 'npm' && process.platform === 'win32'
  return spawnSync(command, [...first, ...args], { cwd: here, stdio: 'inherit', shell }).status === 0
}

/** In a process of its own, for a native module can end the process. */
function works({ name, tries }) {
  const { status, stderr, signal } = spawnSync(process.execPath, ['--input-type=commonjs', '-e', tries], {
    cwd: here,
    encoding: 'utf8',
  })
  if (status === 0) {
    return { version: JSON.parse(readFileSync(join(here, 'node_modules', name, 'package.json'), 'utf8')).version }
  }
  const [reason = `it ended with ${signal ?? status}`] = stderr.match(/^\w*Error: .*$/m) ?? []
  return { reason }
}

const installed = npm('install', '--ignore-scripts', '--no-audit', '--no-fund', '--loglevel=error')
if (!installed) console.log('npm could not install all packages; what is there is tried all the same')

const results = engines.map((engine) => {
  const before = works(engine)
  if (before.version !== undefined) return { ...engine, ...before }
  console.log(`${engine.name}: building, about ${engine.build}`)
  npm('rebuild', engine.name, '--ignore-scripts=false', '--foreground-scripts', '--loglevel=error')
  return { ...engine, ...works(engine) }
})

const [major, minor] = process.versions.node.split('.').map(Number)
const hasSqlite = major > 22 || (major === 22 && minor >= 16)
console.log('')
for (const { name, version, reason } of results) {
  console.log(version === undefined ? `${name}: does not work here: ${reason}` : `${name} ${version}: works`)
}
console.log(
  hasSqlite
    ? `node:sqlite of Node ${process.versions.node}: works`
    : `node:sqlite: not in Node ${process.versions.node}; its backup comes with 22.16`,
)
if (results.some(({ version }) => version === undefined)) process.exitCode = 1
