// Takes each of `mutations.mjs` out of a copy of the tree and shows that some test fails. `npm run test:mutations`.
//
//   node test/mutation/run.mjs [--only <text>] [--from <n>] [--jobs <n>] [--quick] [--keep]
//
//   --only <text>   only mutations whose file or reason has this in it; may be given several times
//   --from <n>      begin with the mutation of this number, as an earlier run printed it
//   --jobs <n>      so many at a time; default half the processors
//   --quick         only the tests that are likely to catch it, in a minute or less; what survives them is tried again without this
//   --keep          leave the copies, and say where they are
//
// Nothing in this tree is changed. A mutation counts as caught when a test fails (or does not end: a lock taken out may
// do that). Exits with 1 when one survives, or when the list and the sources disagree.
import { execFile } from 'node:child_process'
import { chmodSync, cpSync, existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { mutations } from './mutations.mjs'

const root = join(dirname(fileURLToPath(import.meta.url)), '../..')
const { values } = parseArgs({
  options: {
    only: { type: 'string', multiple: true },
    from: { type: 'string' },
    jobs: { type: 'string' },
    quick: { type: 'boolean' },
    keep: { type: 'boolean' },
  },
})
const jobs = Number(values.jobs ?? Math.max(1, Math.floor(availableParallelism() / 2)))
const TIMEOUT_MS = 30 * 60 * 1000
/** A mutation makes some tests hang: they are not waited for as long as on a machine that has more to do. */
const TEST_TIMEOUT_MS = 240_000

/** Where a mutation of a file is likely to show besides the test folder of its own name; the first that fits. */
const LIKELY = [
  [/^src\/fs\/durable/, ['test/storage', 'test/durable', 'test/explore/durable-files.test.ts']],
  [/^src\/fs\//, ['test/durable', 'test/store']],
  [/^src\/storage\//, ['test/fs', 'test/explore/process-death.test.ts', 'test/explore/failing-calls.test.ts']],
  [/^src\/recovery\//, ['test/explore/crash-repair.test.ts', 'test/explore/repair-steps.test.ts']],
  [/^src\/(blocks|load)\//, ['test/load', 'test/explore/bytes.test.ts']],
  [/^src\/format\//, ['test/load/hostile.test.ts', 'test/explore/bytes.test.ts']],
  [/^src\//, ['test/store', 'test/persist', 'test/load', 'test/gc', 'test/history']],
]

/** Then these: what searches a space takes a minute or two, the rest as long. */
const ALL = [
  ['test/explore', 'test/faulty-disk'],
  ['fs', 'storage', 'store', 'blocks', 'gc', 'history', 'load', 'persist', 'recovery', 'local'].map(
    (folder) => `test/${folder}`,
  ),
]

/** Of what touches the disk: a second or two each, then half a minute. */
const QUICK = [
  'test/storage/fsync.test.ts',
  'test/storage/order.test.ts',
  'test/explore/durable-files.test.ts',
  'test/storage/session.test.ts',
]
const CRASHES = ['test/explore/crash-persist.test.ts', 'test/explore/faults.test.ts']

/** The tests for a mutation, a group at a time. */
function testsFor({ file, tests = [] }) {
  const own = file.replace(/^src/, 'test').replace(/\.ts$/, '.test.ts')
  const folder = `test/${file.split('/')[1]}`
  const [, others] = LIKELY.find(([pattern]) => pattern.test(file))
  const likely = existsSync(join(root, folder)) ? [folder, ...others] : others
  const disk = !/^src\/(format|workers|engines|encodings)\//.test(file)
  const first = [...(existsSync(join(root, own)) ? [own] : []), ...(disk ? QUICK : [])]
  const rest = values.quick === true ? [] : [likely, ...ALL]
  return [tests, first, disk ? CRASHES : likely, ...rest].filter((group) => group.length > 0)
}

/** The package as it is built, and its modules one by one for the tests' child processes. */
const DISTS = ['dist', 'test/dist']

function copyTree() {
  const copy = mkdtempSync(join(tmpdir(), 'holdfast-mutation-'))
  // Tests of a store of another user start a process of that user.
  chmodSync(copy, 0o755)
  for (const name of [
    'src',
    'test',
    'docs',
    'package.json',
    'tsconfig.json',
    'tsconfig.build.json',
    'vitest.config.ts',
  ]) {
    if (existsSync(join(root, name))) cpSync(join(root, name), join(copy, name), { recursive: true })
  }
  rmSync(join(copy, 'test/dist'), { recursive: true, force: true })
  for (const name of ['node_modules', ...DISTS]) {
    if (existsSync(join(root, name))) symlinkSync(join(root, name), join(copy, name))
  }
  return copy
}

/** Null when all of `paths` pass; else the name of a test that fails. */
function run(copy, paths) {
  const vitest = join(copy, 'node_modules/vitest/vitest.mjs')
  const args = [
    vitest,
    'run',
    '--pool=forks',
    '--bail=1',
    '--maxWorkers=1',
    '--passWithNoTests',
    `--testTimeout=${TEST_TIMEOUT_MS}`,
    ...[...failing].map((file) => `--exclude=${file}`),
    ...paths,
  ]
  const env = { ...process.env, NO_COLOR: '1', HOLDFAST_SLOW: '', HOLDFAST_EFFORT: 'full' }
  return new Promise((resolve) => {
    execFile(
      process.execPath,
      args,
      { cwd: copy, env, timeout: TIMEOUT_MS, maxBuffer: 2 ** 28 },
      (error, stdout, stderr) => {
        if (error === null) resolve(null)
        else if (error.killed) resolve('(does not end)')
        else resolve(/^ FAIL {2}(.*)$/m.exec(`${stdout}\n${stderr}`)?.[1] ?? `(${stdout.trim().split('\n').at(-1)})`)
      },
    )
  })
}

/** The mutated source; throws when the list is out of date. */
function mutate({ file, find, replace }) {
  const source = readFileSync(join(root, file), 'utf8')
  const places = source.split(find).length - 1
  if (places !== 1) throw new Error(`${file}: found ${places} times, expected once:\n${find}`)
  return source.replace(find, () => replace)
}

/** Whether the tests see it in processes that run what is built: those of the program always do. */
function needsBuild({ file, children = file.startsWith('src/cli/') }) {
  return children
}

/** A build of the copy's own; the original's is put back by `tryOne`. */
function build(copy) {
  for (const dist of DISTS) rmSync(join(copy, dist), { recursive: true, force: true })
  const tsc = join(copy, 'node_modules/typescript/bin/tsc')
  return new Promise((resolve) => {
    // A mutation may not compile without complaint, and is emitted all the same.
    execFile(process.execPath, [tsc, '-p', 'tsconfig.build.json'], { cwd: copy }, () => {
      execFile(process.execPath, ['src/bundle.mjs'], { cwd: copy }, () => resolve())
    })
  })
}

/** Test files that fail without any mutation: they would catch everything, and catch nothing. */
const failing = new Set()
/** Of each test file that caught a mutation, whether it passes without. */
const judged = new Map()
let pristine = null

async function failsAnyway(file) {
  pristine ??= copyTree()
  if (!judged.has(file)) judged.set(file, run(pristine, [file]))
  return (await judged.get(file)) !== null
}

async function findFailure(copy, group) {
  for (;;) {
    const failed = await run(copy, group)
    const file = /test\/\S+\.test\.ts/.exec(failed ?? '')?.[0]
    if (file === undefined || !(await failsAnyway(file))) return failed
    failing.add(file)
  }
}

async function tryOne(copy, mutation) {
  const path = join(copy, mutation.file)
  const original = readFileSync(path)
  writeFileSync(path, mutate(mutation))
  try {
    if (needsBuild(mutation)) await build(copy)
    for (const group of testsFor(mutation)) {
      const failed = await findFailure(copy, group)
      if (failed !== null) return failed
    }
    return null
  } finally {
    writeFileSync(path, original)
    if (needsBuild(mutation)) {
      for (const dist of DISTS) {
        rmSync(join(copy, dist), { recursive: true, force: true })
        symlinkSync(join(root, dist), join(copy, dist))
      }
    }
  }
}

const wanted = mutations
  .map((mutation, i) => ({ ...mutation, number: i + 1 }))
  .filter(({ file, why }) => (values.only ?? ['']).some((text) => `${file} ${why}`.includes(text)))
  .filter(({ number }) => number >= Number(values.from ?? 1))
const stale = wanted.filter((mutation) => {
  try {
    mutate(mutation)
    return false
  } catch (error) {
    console.error(error.message)
    return true
  }
})
if (stale.length > 0) {
  console.error(`${stale.length} mutations do not fit the sources any more`)
  process.exit(1)
}

const copies = Array.from({ length: jobs }, copyTree)
process.on('exit', () => {
  for (const copy of [...copies, ...(pristine === null ? [] : [pristine])]) {
    if (values.keep === true) console.log(`kept ${copy}`)
    else rmSync(copy, { recursive: true, force: true })
  }
})
process.on('SIGINT', () => process.exit(1))

const queue = [...wanted]
const survivors = []
let caught = 0
await Promise.all(
  copies.map(async (copy) => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const failed = await tryOne(copy, next)
      if (failed === null) survivors.push(next)
      else caught += 1
      console.log(
        `${next.number} ${failed === null ? 'SURVIVES' : 'caught'}  ${next.file}: ${next.why}${failed === null ? '' : `\n        ${failed}`}`,
      )
    }
  }),
)
console.log(`\ncaught ${caught} of ${wanted.length}`)
for (const file of failing) console.log(`fails without any mutation, and caught none: ${file}`)
for (const { file, why, find } of survivors) console.log(`survives: ${file}: ${why}\n${find.replaceAll(/^/gm, '    ')}`)
if (survivors.length > 0 || failing.size > 0) process.exitCode = 1
