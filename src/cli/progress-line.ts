// How far a long command is: one line on a terminal, with the rate and the time left. It appears after half a second, and goes when the
// command is done. Nothing is shown where standard error is no terminal.

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
  /** Takes the line away; it comes back with the next redraw unless `end` was called. */
  clear(): void
  end(): void
}

export function createProgressLine(stream: NodeJS.WriteStream): ProgressLine {
  const startMs = clock.monotonicMs()
  let latest: { progress: Stage; text: string } | null = null
  let phase = ''
  let phaseStart = { ms: startMs, bytes: 0 }
  let timer: NodeJS.Timeout | undefined
  let draw: DrawLine | null = null
  let ended = false

  function schedule(): void {
    const wait = draw === null ? Math.max(startMs + SHOW_AFTER_MS - clock.monotonicMs(), 0) : REDRAW_MS
    timer = clock.startTimer(() => void redraw(), wait)
    timer.unref()
  }

  async function redraw(): Promise<void> {
    const { createLogUpdate } = await import('log-update')
    if (ended) return
    draw ??= createLogUpdate(stream)
    if (latest !== null) draw(cutTo(latest.text, (stream.columns || 80) - 1))
    schedule()
  }

  return {
    onProgress(progress) {
      if (ended) return
      const nowMs = clock.monotonicMs()
      const key = phaseOf(progress)
      if (key !== phase) {
        phase = key
        phaseStart = { ms: nowMs, bytes: bytesOf(progress) }
      }
      latest = { progress, text: progressText(progress, nowMs - phaseStart.ms, phaseStart.bytes) }
      if (timer === undefined) schedule()
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

function phaseOf(progress: Stage): string {
  return 'blob' in progress ? `${progress.phase} ${progress.blob}` : progress.phase
}

function bytesOf(progress: Stage): number {
  return 'bytes' in progress ? progress.bytes : 0
}

/** `reading index: 120 MiB of 1.0 GiB (12 %), 340 MiB/s, 3 s left`. Pure. */
export function progressText(progress: Stage, phaseMs: number, startBytes: number): string {
  switch (progress.phase) {
    case 'waiting':
      return `waiting for another writer: ${durationText(progress.waitedMs)}`
    case 'committing':
      return 'committing'
    default: {
      const { phase, bytes, totalBytes } = progress
      const what = 'blob' in progress ? `${phase} ${printable(progress.blob)}` : phase
      const rate = phaseMs > 0 ? ((bytes - startBytes) * 1000) / phaseMs : 0
      const parts = [
        totalBytes === null
          ? sizeText(bytes)
          : `${sizeText(bytes)} of ${sizeText(totalBytes)} (${percent(bytes, totalBytes)} %)`,
      ]
      if (rate > 0) parts.push(`${sizeText(rate)}/s`)
      if (rate > 0 && totalBytes !== null && phaseMs >= GUESS_AFTER_MS && bytes < totalBytes) {
        parts.push(`${durationText((Math.ceil((totalBytes - bytes) / rate) || 1) * 1000)} left`)
      }
      return `${what}: ${parts.join(', ')}`
    }
  }
}

function percent(bytes: number, total: number): number {
  return total === 0 ? 100 : Math.floor((bytes / total) * 100)
}
