import { afterEach, describe, expect, test, vi } from 'vitest'
import { createQueue } from '../../src/fs/queue.ts'
import { followGlobals } from '../support/follow-globals.ts'

const tooLong = () => new Error('too long')

/** A task that runs until told to end. */
function gate() {
  let open: () => void = () => undefined
  const opened = new Promise<void>((resolve) => {
    open = resolve
  })
  return { open, opened }
}

/** A task after whose end `between` runs when the next waiter was woken but does not run yet. */
function endingBefore(between: () => void) {
  const { open, opened } = gate()
  return {
    task: () => opened,
    end() {
      // In this order: the queue hears of the end and wakes the waiter, `between` runs, the waiter runs.
      open()
      queueMicrotask(between)
    },
  }
}

afterEach(() => {
  vi.useRealTimers()
  vi.restoreAllMocks()
})

describe('the queue of a process', () => {
  test('runs one task at a time, in the order they came', async () => {
    const queue = createQueue()
    const seen: string[] = []
    const task = (name: number) => async () => {
      seen.push(`${name} starts`)
      await new Promise((resolve) => setImmediate(resolve))
      seen.push(`${name} ends`)
      return name
    }
    const all = [1, 2, 3, 4].map((name) => queue.run(undefined, 1_000, task(name), tooLong))
    expect(await Promise.all(all)).toEqual([1, 2, 3, 4])
    expect(seen).toEqual([1, 2, 3, 4].flatMap((name) => [`${name} starts`, `${name} ends`]))
  })

  test('goes on after a task that fails', async () => {
    const queue = createQueue()
    const first = queue.run(undefined, 1_000, () => Promise.reject(new Error('mine')), tooLong)
    const second = queue.run(undefined, 1_000, async () => 2, tooLong)
    await expect(first).rejects.toThrow('mine')
    expect(await second).toBe(2)
    expect(await queue.run(undefined, 0, async () => 3, tooLong)).toBe(3)
  })

  test('lets a newcomer in behind the waiter that has just been woken', async () => {
    const queue = createQueue()
    const seen: number[] = []
    let third: Promise<void> | undefined
    const { task, end } = endingBefore(() => {
      third = queue.run(undefined, 1_000, async () => void seen.push(3), tooLong)
    })
    const first = queue.run(undefined, 1_000, task, tooLong)
    const second = queue.run(undefined, 1_000, async () => void seen.push(2), tooLong)
    end()
    await Promise.all([first, second])
    await third
    expect(seen).toEqual([2, 3])
  })

  test('an aborted waiter leaves without running, with the reason given; the others keep their places', async () => {
    const queue = createQueue()
    const { open, opened } = gate()
    const seen: number[] = []
    const controller = new AbortController()
    const first = queue.run(undefined, 1_000, () => opened, tooLong)
    const second = queue.run(controller.signal, 1_000, async () => void seen.push(2), tooLong)
    const third = queue.run(undefined, 1_000, async () => void seen.push(3), tooLong)
    controller.abort('enough')
    await expect(second).rejects.toBe('enough')
    await expect(queue.run(controller.signal, 1_000, async () => void seen.push(4), tooLong)).rejects.toBe('enough')
    open()
    await Promise.all([first, third])
    expect(seen).toEqual([3])
  })

  test('one aborted between being woken and running does not run, and passes its turn on', async () => {
    const queue = createQueue()
    const seen: number[] = []
    const controller = new AbortController()
    const { task, end } = endingBefore(() => controller.abort('late'))
    const first = queue.run(undefined, 1_000, task, tooLong)
    const second = queue.run(controller.signal, 1_000, async () => void seen.push(2), tooLong)
    const third = queue.run(undefined, 1_000, async () => void seen.push(3), tooLong)
    end()
    await expect(second).rejects.toBe('late')
    await Promise.all([first, third])
    expect(seen).toEqual([3])
  })

  test('a waiter leaves after its time, and leaves no timer behind', async () => {
    vi.useFakeTimers()
    followGlobals()
    const queue = createQueue()
    const { open, opened } = gate()
    const first = queue.run(undefined, 1_000, () => opened, tooLong)
    const second = queue.run(undefined, 100, async () => 2, tooLong)
    const refused = expect(second).rejects.toThrow('too long')
    const third = queue.run(undefined, 500, async () => 3, tooLong)
    const patient = queue.run(undefined, Number.POSITIVE_INFINITY, async () => 4, tooLong)
    await vi.advanceTimersByTimeAsync(100)
    await refused
    open()
    await first
    expect(await third).toBe(3)
    expect(await patient).toBe(4)
    expect(vi.getTimerCount()).toBe(0)
  })
})
