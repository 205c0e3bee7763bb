import { execFileSync } from 'node:child_process'
import { rmSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { inChild } from './child.ts'
import type { Context } from './group.ts'
import { bytesText, GIB, log, MIB, stat } from './measure.ts'
import type { Fact, GroupResult } from './result.ts'
import type { BlobInput, BlobOutput, Delay, DelayOutput } from './tasks.ts'
import { treeBytes } from './tree-bytes.ts'

/** What the process that embeds a store notices of it: late timers, memory, and what is installed. */
export async function host(context: Context): Promise<GroupResult> {
  const facts: Fact[] = []
  const skipped: string[] = []
  const bytes = context.quick ? 128 * MIB : GIB
  const store = join(context.scratch, 'host')
  const delays: DelayOutput[] = []
  for (let i = 0; i < (context.quick ? 1 : 3); i++) {
    delays.push(await inChild(context.program, 'eventLoopDelay', { store, bytes }))
    rmSync(store, { recursive: true })
  }
  for (const [work, what] of [
    ['idle', 'idle, for comparison'],
    ['persist', `first persist of ${bytesText(bytes)}`],
    ['changed', `persist of ${bytesText(bytes)} after 1 % changed all over`],
    ['load', `verified load of ${bytesText(bytes)}`],
  ] as const) {
    const of = (field: keyof Delay) => stat(delays.map((delay) => delay[work][field])).median
    const detail = `median of ${delays.length} processes; p50 ${of('p50').toFixed(1)} ms, longest ${of('max').toFixed(1)} ms; a timer of 1 ms counts as 1 ms`
    facts.push({
      id: `delay-${work}`,
      what: `event-loop delay p99, ${what}`,
      value: of('p99'),
      unit: 'ms',
      detail,
      ...(work === 'idle' ? {} : { target: 10 }),
    })
    log(`event-loop delay, ${what}: p99 ${of('p99').toFixed(1)} ms, longest ${of('max').toFixed(1)} ms`)
  }

  for (const [work, what] of [
    ['first', 'first persist'],
    ['changed', 'persist after 1 % changed all over'],
    ['load', 'verified load'],
    ['stream', 'verified stream'],
    ['verify', 'verify of every byte'],
  ] as const) {
    const input: BlobInput = { store, bytes, streamed: false, work }
    const { peak } = await inChild<BlobOutput>(context.program, 'blob', input)
    if (peak === null) skipped.push('peak memory: /proc/self/clear_refs cannot be written here')
    else {
      log(`peak memory, ${what}: ${bytesText(peak)}`)
      facts.push({
        id: `memory-${work}`,
        what: `peak memory beyond the caller's buffers, ${what} of ${bytesText(bytes)}`,
        value: peak / MIB,
        unit: 'MiB',
        target: 128,
        detail: 'resident, worker threads included',
      })
    }
  }
  rmSync(store, { recursive: true })
  const installed = installSize(dirname(context.home))
  log(`install size: ${bytesText(installed.bytes)} in ${installed.packages} packages`)
  facts.push({
    id: 'install-size',
    what: 'install size of the runtime dependencies',
    value: installed.bytes / MIB,
    unit: 'MiB',
    detail: `${installed.packages} packages, sum of file sizes; largest: ${installed.largest}`,
  })
  return { facts, skipped }
}

function installSize(root: string): { bytes: number; packages: number; largest: string } {
  const output = execFileSync('npm', ['ls', '--omit=dev', '--all', '--parseable'], { cwd: root, encoding: 'utf8' })
  const paths = [...new Set(output.trim().split('\n'))].filter((path) => path !== root)
  const sizes = paths.map((path) => ({ path, bytes: treeBytes(path) })).sort((a, b) => b.bytes - a.bytes)
  const largest = sizes
    .slice(0, 3)
    .map(({ path, bytes }) => `${path.split('node_modules/').at(-1)} ${bytesText(bytes)}`)
    .join(', ')
  return { bytes: sizes.reduce((sum, { bytes }) => sum + bytes, 0), packages: paths.length, largest }
}
