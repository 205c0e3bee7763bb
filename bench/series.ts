import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fixed } from '../src/index.ts'
import { inChild } from './child.ts'
import { type EngineSeries, engineSeries } from './engines.ts'
import { writeGenerations } from './generations.ts'
import type { Context } from './group.ts'
import { bytesText, log } from './measure.ts'
import type { GroupResult, SeriesTable } from './result.ts'
import { installed, run } from './tools.ts'
import { treeBytes } from './tree-bytes.ts'

/** Bytes on disk when every save of an engine is kept: six generations, holdfast and the backup tools. */
export async function series(context: Context): Promise<GroupResult> {
  const { series: all, skipped } = await engineSeries(context)
  const tables: SeriesTable[] = []
  const tools = [restic, borg, casync].filter(({ name }) => {
    if (installed(name)) return true
    skipped.push(`${name}: not installed`)
    return false
  })
  for (const one of all) {
    const file = join(context.scratch, 'series.bin')
    writeGenerations(file, one.generations)
    const rows: SeriesTable['rows'] = []
    const store = join(context.scratch, 'series-store')
    const chunking = one.pages ? fixed(4096) : null
    await inChild(context.program, 'persistSeries', { store, file, chunking })
    rows.push({ name: 'holdfast', bytes: treeBytes(store) })
    rmSync(store, { recursive: true })
    for (const tool of tools) rows.push({ name: tool.name, bytes: toolBytes(context, tool, one) })
    const logicalBytes = one.generations.reduce((sum, { length }) => sum + length, 0)
    rows.push({ name: 'plain copies', bytes: logicalBytes })
    tables.push({
      name: one.name,
      change: one.change,
      generations: one.generations.length,
      logicalBytes,
      rows,
    })
    log(`${one.name}, ${one.change}: ${rows.map(({ name, bytes }) => `${name} ${bytesText(bytes)}`).join(', ')}`)
  }
  return { series: tables, skipped }
}

interface Tool {
  name: string
  init(repository: string, home: string): void
  /** Every generation lies under the same path, as it does for a user. */
  add(repository: string, home: string, file: string, generation: number): void
  /** Gives a generation back as `<target>/…`; answers the file's path. */
  restore(repository: string, home: string, file: string, generation: number, target: string): string
}

const restic: Tool = {
  name: 'restic',
  init: (repository, home) => run('restic', ['-r', repository, 'init'], { home }),
  add: (repository, home, file, generation) =>
    run('restic', ['-r', repository, 'backup', '--tag', `g${generation}`, file], { home }),
  restore(repository, home, file, generation, target) {
    run('restic', ['-r', repository, 'restore', 'latest', '--tag', `g${generation}`, '--target', target], { home })
    return join(target, file)
  },
}

const borg: Tool = {
  name: 'borg',
  init: (repository, home) => run('borg', ['init', '-e', 'none', repository], { home }),
  add: (repository, home, file, generation) => run('borg', ['create', `${repository}::g${generation}`, file], { home }),
  restore(repository, home, file, generation, target) {
    run('borg', ['extract', `${repository}::g${generation}`], { home, cwd: target })
    return join(target, file)
  },
}

const casync: Tool = {
  name: 'casync',
  init: (repository) => void mkdirSync(join(repository, 'default.castr'), { recursive: true }),
  add: (repository, home, file, generation) =>
    run(
      'casync',
      ['make', `--store=${join(repository, 'default.castr')}`, join(repository, `${generation}.caibx`), file],
      {
        home,
      },
    ),
  restore(repository, home, _, generation, target) {
    const path = join(target, 'restored.bin')
    const store = join(repository, 'default.castr')
    run('casync', ['extract', `--store=${store}`, join(repository, `${generation}.caibx`), path], { home })
    return path
  },
}

function toolBytes(context: Context, tool: Tool, { generations }: EngineSeries): number {
  const home = join(context.scratch, 'tool')
  mkdirSync(home)
  const repository = join(home, 'repository')
  const file = join(home, 'save.bin')
  tool.init(repository, home)
  for (const [generation, bytes] of generations.entries()) {
    writeFileSync(`${file}.new`, bytes)
    copyFileSync(`${file}.new`, file)
    tool.add(repository, home, file, generation)
  }
  const last = generations.length - 1
  const target = join(home, 'restored')
  mkdirSync(target)
  const restored = readFileSync(tool.restore(repository, home, file, last, target))
  if (!restored.equals(generations[last]!)) throw new Error(`${tool.name} gave other bytes back`)
  const bytes = treeBytes(repository)
  rmSync(home, { recursive: true })
  return bytes
}
