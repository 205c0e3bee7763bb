import { spawnSync } from 'node:child_process'
import { pathToFileURL } from 'node:url'
import type { Context } from './group.ts'
import { log, msText, stat } from './measure.ts'
import type { Fact, GroupResult } from './result.ts'

/** What `import 'holdfast'` adds to the start of a process: whole processes, in turn with ones that import nothing. */
export async function start(context: Context): Promise<GroupResult> {
  const entry = (name: string) => pathToFileURL(`dist/${name}.js`).href
  const programs = {
    nothing: '',
    holdfast: `await import(${JSON.stringify(entry('index'))})`,
    'holdfast/durable': `await import(${JSON.stringify(entry('durable'))})`,
    'holdfast/engines': `await import(${JSON.stringify(entry('engines/index'))})`,
  }
  const times = new Map<string, number[]>(Object.keys(programs).map((name) => [name, []]))
  const rounds = context.quick ? 5 : 21
  for (let round = 0; round < rounds; round++) {
    for (const [name, program] of Object.entries(programs)) times.get(name)!.push(processMs(program))
  }
  const nothing = stat(times.get('nothing')!).median
  const facts: Fact[] = []
  for (const name of Object.keys(programs).slice(1)) {
    const { median } = stat(times.get(name)!)
    log(`import '${name}': ${msText(median - nothing)}`)
    facts.push({
      id: `import-${name}`,
      what: `import '${name}', beyond node -e`,
      value: median - nothing,
      unit: 'ms',
      detail: `medians of ${rounds} processes each; node -e alone ${nothing.toFixed(0)} ms`,
      target: 60,
    })
  }
  return { facts }
}

function processMs(program: string): number {
  const startNs = process.hrtime.bigint()
  const { status, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', program])
  if (status !== 0) throw new Error(String(stderr))
  return Number(process.hrtime.bigint() - startNs) / 1e6
}
