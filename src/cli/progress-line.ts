// How far a long command is: one line on a terminal, with the rate and the time left. It appears after half a second,
// and goes when the command is done. Nothing is shown where standard error is no terminal.

import { clock } from '../clock.ts'
import type { Progress } from '../progress.ts'
import { cutTo, durationText, printable, sizeText } from './screen.ts'

const SHOW_AFTER_MS = 500
const REDRAW_MS = 100
/** Times that are left are guessed only from so much on. */
const GUESS_AFTER_MS = 1000

/** What a command reports. */
export type Stage = Progress | { phase: 'scrubbing'; bytes: number; totalBytes: null }

interface ProgressLine {
  onProgress(stage: Stage): void
  /** Takes the line away until it is drawn again. */
  clear(): void
  end(): void
}

export function createProgressLine(verb: string, stream: NodeJS.WriteStream): ProgressLine {
  const startMs = clock.monotonicMs()
  let latest: Stage | null = null
  /** When the stage began, and when it was last heard of. */
  let since = { key: '', startMs, reportMs: startMs }
  let draw: DrawLine | null = null
  let ended = false
  let timer = nextIn(SHOW_AFTER_MS)

  function nextIn(ms: number): NodeJS.Timeout {
    const next = clock.startTimer(() => void redraw(), ms)
    next.unref()
    return next
  }

  async function redraw(): Promise<void> {
    const { createLogUpdate } = await import('log-update')
    if (ended) return
    draw ??= createLogUpdate(stream)
    const text =
      latest === null
        ? `${verb}: ${durationText(clock.monotonicMs() - startMs)}`
        : progressText(latest, since.reportMs - since.startMs)
    draw(cutTo(text, (stream.columns || 80) - 1))
    timer = nextIn(REDRAW_MS)
  }

  return {
    onProgress(stage) {
      const key = 'blob' in stage ? `${stage.phase} ${stage.blob}` : stage.phase
      // What a first report tells of was done since the report before it.
      since = { key, startMs: key === since.key ? since.startMs : since.reportMs, reportMs: clock.monotonicMs() }
      latest = stage
    },
    clear: () => draw?.clear(),
    end() {
      ended = true
      clock.stopTimer(timer)
      draw?.clear()
      draw?.done()
    },
  }
}

/** What log-update gives. */
interface DrawLine {
  (text: string): void
  clear(): void
  done(): void
}

/** `reading index: 120 MiB of 1.0 GiB (12 %), 340 MiB/s, 3 s left`, `ms` after the stage began. Pure. */
export function progressText(stage: Stage, ms: number): string {
  switch (stage.phase) {
    case 'waiting':
      return `waiting for another writer: ${durationText(stage.waitedMs)}`
    case 'committing':
      return 'committing'
    default: {
      const { phase, bytes, totalBytes } = stage
      const what = 'blob' in stage ? `${phase} ${printable(stage.blob)}` : phase
      const rate = ms > 0 ? (bytes * 1000) / ms : 0
      const parts = [
        totalBytes === null
          ? sizeText(bytes)
          : `${sizeText(bytes)} of ${sizeText(totalBytes)} (${percent(bytes, totalBytes)} %)`,
      ]
      if (rate > 0) parts.push(`${sizeText(rate)}/s`)
      if (rate > 0 && totalBytes !== null && ms >= GUESS_AFTER_MS && bytes < totalBytes) {
        parts.push(`${durationText(Math.ceil((totalBytes - bytes) / rate) * 1000)} left`)
      }
      return `${what}: ${parts.join(', ')}`
    }
  }
}

function percent(bytes: number, total: number): number {
  return total === 0 ? 100 : Math.floor((bytes / total) * 100)
}
