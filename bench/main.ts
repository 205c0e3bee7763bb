import { spawnSync } from 'node:child_process'
import { mkdirSync, readFileSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { cpus, loadavg, release, tmpdir, totalmem } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { basics } from './basics.ts'
import { inChild } from './child.ts'
import { counts } from './counts.ts'
import type { Context, Group } from './group.ts'
import { host } from './host.ts'
import { journal } from './journal.ts'
import { bytesText } from './measure.ts'
import { parts } from './parts.ts'
import { renderReport } from './report.ts'
import type { GroupResult, Run } from './result.ts'
import { rivals } from './rivals.ts'
import { scaling } from './scaling.ts'
import { series } from './series.ts'
import { serving } from './serving.ts'
import { small } from './small.ts'
import { start } from './start.ts'
import { renderTables } from './tables.ts'
import { tasks } from './tasks.ts'

const USAGE = `npm run bench -- [options]
  --quick         less of everything, in under two minutes; the committed results stay as they are
  --only a,b      only these groups: counts, parts, start, basics, small, host, rivals, series, scaling, journal,
                  serving
  --minutes N     what has not begun by then is skipped, and says so
  --render        runs nothing; draws the report from the results that are there
  --scratch DIR   where to work; default: the temporary directory. It says which disk is measured
`

const groups: Record<string, Group> = {
  counts,
  parts,
  start,
  basics,
  small,
  host,
  rivals,
  series,
  scaling,
  journal,
  serving,
}

const program = fileURLToPath(import.meta.url)
/** The program lies in `bench/results/build/`. */
const home = dirname(dirname(dirname(program)))

const { values, positionals } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    minutes: { type: 'string', default: '600' },
    render: { type: 'boolean', default: false },
    scratch: { type: 'string', default: tmpdir() },
    task: { type: 'string' },
    help: { type: 'boolean', default: false },
  },
  allowPositionals: true,
})

if (values.help) process.stdout.write(USAGE)
else if (values.task !== undefined) await runTask(values.task, positionals[0]!)
else await main()

async function runTask(name: string, input: string): Promise<void> {
  const task = name === 'group' ? runGroup : tasks[name]!
  process.stdout.write(JSON.stringify((await task(JSON.parse(input) as never)) ?? null))
}

interface GroupInput extends Pick<Context, 'quick' | 'scratch' | 'deadlineMs'> {
  name: string
}

/** In a process of its own: a heap that another group has filled would be measured too. */
async function runGroup({ name, ...given }: GroupInput): Promise<GroupResult> {
  const context: Context = { ...given, cache: join(home, 'results', 'cache'), program, home }
  return await groups[name]!(context)
}

async function main(): Promise<void> {
  const { quick } = values
  const results = join(home, 'results')
  mkdirSync(results, { recursive: true })
  const file = quick ? join(results, 'quick.json') : join(home, 'results.json')
  const only = values.only?.split(',') ?? Object.keys(groups)
  const unknown = only.filter((name) => !(name in groups))
  if (unknown.length > 0) throw new Error(`no such group: ${unknown.join(', ')}\n${USAGE}`)

  let run = values.render || values.only !== undefined ? readRun(file) : null
  if (!values.render) {
    run = run === null ? { ...machine(quick), groups: {} } : alongside(run, machine(quick))
    const deadlineMs = Date.now() + Number(values.minutes) * 60_000
    for (const name of only) {
      process.stderr.write(`${name}\n`)
      await runOne(run, name, deadlineMs)
      writeFileSync(file, `${JSON.stringify(run, null, 1)}\n`)
    }
    writeFileSync(join(results, 'all.jsonl'), `${JSON.stringify(run)}\n`, { flag: 'a' })
  }
  if (run === null) throw new Error(`${file} is not there: run the benchmarks first`)

  const report = quick ? join(results, 'quick.html') : join(home, 'report.html')
  writeFileSync(report, renderReport(run))
  const page = join(dirname(home), 'docs', 'performance.md')
  const tables = renderTables(run)
  if (quick) process.stdout.write(Object.values(tables).join('\n'))
  else writeFileSync(page, fillIn(readFileSync(page, 'utf8'), tables))
  process.stderr.write(`${report}\n`)
  for (const [name, { error, result }] of Object.entries(run.groups)) {
    if (error !== undefined) {
      process.stderr.write(`${name} failed: ${error}\n`)
      process.exitCode = 1
    }
    for (const reason of result.skipped ?? []) process.stderr.write(`${name} skipped: ${reason}\n`)
  }
}

async function runOne(run: Run, name: string, deadlineMs: number): Promise<void> {
  const scratch = realpathSync(values.scratch)
  const own = join(scratch, `holdfast-bench-${process.pid}`)
  mkdirSync(own)
  const startMs = performance.now()
  let result: GroupResult = {}
  let error: string | undefined
  try {
    const input: GroupInput = { name, quick: values.quick, scratch: own, deadlineMs }
    if (Date.now() > deadlineMs) result = { skipped: ['all of it: out of time'] }
    else result = await inChild<GroupResult>(program, 'group', input)
  } catch (failure) {
    error = (failure as Error).message
  } finally {
    rmSync(own, { recursive: true, force: true })
  }
  run.groups[name] = {
    finished: new Date().toISOString(),
    seconds: Math.round((performance.now() - startMs) / 1000),
    load: loadavg()[0]!,
    ...(error === undefined ? {} : { error }),
    result,
  }
  process.stderr.write(`  ${run.groups[name].seconds} s, load average ${loadavg()[0]!.toFixed(1)}\n`)
}

function readRun(file: string): Run | null {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Run
  } catch {
    return null
  }
}

function machine(quick: boolean): Omit<Run, 'groups'> {
  const [cpu] = cpus()
  return {
    started: new Date().toISOString(),
    quick,
    machine: {
      processor: `${cpu?.model.trim() ?? 'unknown'}, ${cpus().length} cores`,
      memory: bytesText(totalmem()),
      system: `${process.platform} ${release()}, ${process.arch}`,
      'file system': fileSystem(),
    },
    versions: { node: process.version, ...packageVersions(), ...toolVersions() },
  }
}

/** Some groups of a run anew: when it began, and what the others ran with, is still true of them. */
function alongside(run: Run, now: Omit<Run, 'groups'>): Run {
  return { ...run, versions: { ...now.versions, ...run.versions } }
}

function fileSystem(): string {
  const { stdout } = spawnSync('findmnt', ['-no', 'FSTYPE,OPTIONS', '-T', values.scratch], { encoding: 'utf8' })
  return stdout?.trim().replaceAll(/\s+/g, ' ') || 'unknown'
}

function packageVersions(): Record<string, string> {
  const wanted = [
    'cacache',
    'blockstore-fs',
    'ipfs-unixfs-importer',
    'ipfs-unixfs-exporter',
    'lmdb',
    'better-sqlite3',
    'level',
  ]
  const roots: [string, string[]][] = [
    [home, [...wanted, 'usearch', 'node24']],
    [dirname(home), ['minisearch', '@orama/orama', '@napi-rs/blake-hash']],
  ]
  const versions: Record<string, string> = {}
  for (const [root, names] of roots) {
    for (const name of names) {
      try {
        const text = readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8')
        versions[name] = (JSON.parse(text) as { version: string }).version
      } catch {
        // Not installed; the group that wanted it says so.
      }
    }
  }
  return versions
}

function toolVersions(): Record<string, string> {
  const versions: Record<string, string> = {}
  for (const [name, argument] of [
    ['restic', 'version'],
    ['borg', '--version'],
    ['casync', '--version'],
  ] as const) {
    const { stdout } = spawnSync(name, [argument], { encoding: 'utf8' })
    const version = /\d[\w.+-]*/.exec(stdout ?? '')
    if (version !== null) versions[name] = version[0]
  }
  return versions
}

function fillIn(page: string, tables: Record<string, string>): string {
  let text = page
  for (const [name, table] of Object.entries(tables)) {
    const begin = `<!-- begin ${name} -->`
    const end = `<!-- end ${name} -->`
    const from = text.indexOf(begin)
    const to = text.indexOf(end)
    if (from === -1 || to === -1) throw new Error(`docs/performance.md has no place for ${name}`)
    text = `${text.slice(0, from + begin.length)}\n${table}\n${text.slice(to)}`
  }
  return text
}
