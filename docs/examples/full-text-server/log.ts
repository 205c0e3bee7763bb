import { createReadStream } from 'node:fs'
import { mkdir, open, readFile } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'

// The source of truth: a file with a change a line. The number of a line is the change's sequence. (Yours may be a database or a queue;
// what counts is that changes have an order, and that they can be read again from any of them on.)

export interface Log<Change> {
  /** The sequence of the last change that is on the disk; 0 when there is none. */
  readonly last: number
  /** Answers the change's sequence when it is on the disk. `apply` is called just before, in the order of the sequences. */
  append(change: Change, apply: (sequence: number) => void): Promise<number>
  /** What came after that sequence. */
  after(sequence: number): AsyncGenerator<[sequence: number, change: Change]>
}

interface Waiting<Change> {
  change: Change
  apply(sequence: number): void
  resolve(sequence: number): void
  reject(error: unknown): void
}

export async function openLog<Change>(path: string): Promise<Log<Change>> {
  await mkdir(dirname(path), { recursive: true })
  const file = await open(path, 'a')
  // The last line may be one that a crash cut short: nobody was told that it was written.
  const content = await readFile(path)
  await file.truncate(content.lastIndexOf('\n') + 1)
  // What an earlier process wrote and did not live to sync is read from now on, so it must stay.
  await file.sync()
  await syncDirectory(dirname(path))
  let last = content.reduce((lines, byte) => (byte === 0x0a ? lines + 1 : lines), 0)

  let waiting: Waiting<Change>[] = []
  let writing = false
  let failed: unknown

  /** One write and one sync for all that came during those before. */
  async function write(): Promise<void> {
    writing = true
    while (waiting.length > 0) {
      const batch = waiting
      waiting = []
      try {
        // Whether bytes that once failed to sync are on the disk, nobody knows: no change is taken after them.
        if (failed !== undefined) throw failed
        await file.appendFile(batch.map(({ change }) => `${JSON.stringify(change)}\n`).join(''))
        await file.datasync()
      } catch (error) {
        failed = error
        for (const { reject } of batch) reject(error)
        continue
      }
      for (const { apply, resolve } of batch) {
        last += 1
        apply(last)
        resolve(last)
      }
    }
    writing = false
  }

  return {
    get last() {
      return last
    },
    append(change, apply) {
      return new Promise((resolve, reject) => {
        waiting.push({ change, apply, resolve, reject })
        if (!writing) void write()
      })
    },
    async *after(sequence) {
      let line = 0
      for await (const json of createInterface({ input: createReadStream(path) })) {
        line += 1
        if (line > sequence) yield [line, JSON.parse(json) as Change]
      }
    },
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  await directory.sync()
  await directory.close()
}
