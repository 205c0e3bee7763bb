import type { Call } from '../faulty-disk/disk.ts'
import type { Random } from '../support/random.ts'

/**
 * Decides, call by call, whose turn it is: every interleaving of the processes' calls can happen, and the seed says
 * which does.
 */
export interface Schedule {
  readonly nowMs: number
  /** For `Disk.gate`. */
  gate(call: Call): Promise<void>
  pauseUntil(atMs: number): Promise<void>
  /** Runs until all tasks have ended. `beforeEach` may kill processes; whoever waits then goes on, and fails. */
  run(tasks: readonly Promise<unknown>[], beforeEach: (calls: number) => void): Promise<void>
}

interface Waiting {
  resume: () => void
  /** Null: it waits for a call's turn. */
  untilMs: number | null
}

/** Longer than any lock is waited for would be pointless. */
const TURNS_WITHOUT_WORK_MAX = 10_000

export function createSchedule(random: Random, setTime: (ms: number) => void): Schedule {
  let nowMs = 0
  let waiting: Waiting[] = []
  let calls = 0

  function wait(untilMs: number | null): Promise<void> {
    return new Promise((resume) => {
      waiting.push({ resume, untilMs })
    })
  }

  function next(): Waiting | null {
    const turns = waiting.filter(({ untilMs }) => untilMs === null)
    const pauses = waiting.filter(({ untilMs }) => untilMs !== null)
    // A process may be slow, and another's pause end first.
    const waking = pauses.length > 0 && (turns.length === 0 || random.chance(0.05))
    if (!waking) return turns.length === 0 ? null : random.pick(turns)
    const first = pauses.reduce((a, b) => (b.untilMs! < a.untilMs! ? b : a))
    nowMs = Math.max(nowMs, first.untilMs!)
    setTime(nowMs)
    return first
  }

  return {
    get nowMs() {
      return nowMs
    },
    gate: () => wait(null),
    pauseUntil: (atMs) => wait(atMs),
    async run(tasks, beforeEach) {
      let running = tasks.length
      for (const task of tasks) {
        const end = (): void => {
          running -= 1
        }
        task.then(end, end)
      }
      for (let idle = 0; ; ) {
        // All that can go on without the disk does so first.
        await new Promise((resolve) => setImmediate(resolve))
        if (running === 0) return
        const chosen = next()
        if (chosen === null) {
          if (++idle > TURNS_WITHOUT_WORK_MAX) throw new Error('nobody waits for the disk, and nobody ends')
          continue
        }
        idle = 0
        calls += 1
        nowMs += 0.01
        setTime(nowMs)
        beforeEach(calls)
        waiting = waiting.filter((each) => each !== chosen)
        chosen.resume()
      }
    },
  }
}
