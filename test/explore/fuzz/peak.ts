// The peak of this process's memory while something runs. Linux only: elsewhere it is not known.

import { readFileSync, writeFileSync } from 'node:fs'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

/** Bytes of memory that `run` took beyond what was there before it, at its peak; null: not known. */
export async function peakOf(run: () => Promise<unknown>): Promise<number | null> {
  collectGarbage()
  try {
    // Resets the peak; see proc(5).
    writeFileSync('/proc/self/clear_refs', '5')
  } catch {
    await run()
    return null
  }
  const before = process.memoryUsage.rss()
  await run()
  const peakKiB = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1]
  return Number(peakKiB) * 1024 - before
}
