import { closeSync, fsyncSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { blake3 } from '../src/format/blake3.ts'
import { content, cutter } from '../src/format/chunking.ts'
import { SEGMENT_BYTES } from '../src/format/limits.ts'
import { GEAR_WASM } from '../src/workers/generated.ts'
import { chunkerOver, sharedMemory } from '../src/workers/wasm.ts'
import { jsonDocuments, vectors } from './data.ts'
import type { Context } from './group.ts'
import { log, MIB, msText, settleDisk, stat, timed } from './measure.ts'
import type { Fact, GroupResult } from './result.ts'

/** What the parts of a persist and a load cost on one thread, one after the other: how the time is spent. */
export async function parts(context: Context): Promise<GroupResult> {
  const bytes = context.quick ? 64 * MIB : 256 * MIB
  const floats = vectors(bytes)
  const text = jsonDocuments(bytes)
  const memory = sharedMemory(bytes)
  const shared = new Uint8Array(memory.buffer, 0, bytes)
  const wasm = chunkerOver(Buffer.from(GEAR_WASM, 'base64'), memory)
  const script = cutter(content())
  const path = join(context.scratch, 'parts.bin')
  const into = Buffer.allocUnsafeSlow(bytes).fill(1)
  let ends: number[] = []

  function cut(one: (start: number, end: number) => number): void {
    ends = []
    for (let at = 0; at < bytes; ends.push(at)) at += one(at, bytes)
  }
  function eachSegment(work: (start: number, end: number) => void): void {
    for (let at = 0; at < bytes; at += SEGMENT_BYTES) work(at, Math.min(at + SEGMENT_BYTES, bytes))
  }
  let descriptor = -1
  const steps: [string, () => unknown][] = [
    ['copy into our buffers', () => shared.set(floats)],
    ['find boundaries, WebAssembly, vectors', () => cut((start, end) => wasm(start, end, 16_384))],
    [
      'hash the chunks',
      () => {
        let at = 0
        for (const end of ends) {
          blake3(shared.subarray(at, end))
          at = end
        }
      },
    ],
    ['hash the segments', () => eachSegment((start, end) => void blake3(shared.subarray(start, end)))],
    [
      'write into the page cache, 4 MiB at a time',
      () => eachSegment((start, end) => void writeSync(descriptor, shared, start, end - start, start)),
    ],
    ['fsync', () => fsyncSync(descriptor)],
    [
      'read from the page cache, 4 MiB at a time, into touched memory',
      () => eachSegment((start, end) => void readSync(descriptor, into, start, end - start, start)),
    ],
    ['fresh memory of that size, touched', () => Buffer.allocUnsafeSlow(bytes).fill(1)],
    ['find boundaries, JavaScript, vectors', () => cut((start, end) => script(floats, start, end))],
    ['copy JSON in, to compare', () => shared.set(text)],
    ['find boundaries, WebAssembly, JSON', () => cut((start, end) => wasm(start, end, 16_384))],
  ]
  const times = new Map<string, number[]>()
  for (let round = 0; round < 3; round++) {
    settleDisk()
    descriptor = openSync(path, 'w+')
    for (const [name, work] of steps) times.set(name, [...(times.get(name) ?? []), await timed(work)])
    closeSync(descriptor)
  }
  const facts = steps.map(([name]): Fact => {
    const { median, min, max } = stat(times.get(name)!)
    log(`${name}: ${msText(median)}`)
    return {
      id: `part-${name}`,
      what: `part: ${name}`,
      value: median,
      unit: 'ms',
      detail: `${bytes / MIB} MiB, one thread; ${msText(min)} to ${msText(max)}`,
    }
  })
  return { facts }
}
