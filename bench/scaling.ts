import { readdirSync, rmSync, statfsSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fixed, loadSnapshot, openStore } from '../src/index.ts'
import { inChild } from './child.ts'
import { overwrite, readyStream, stampedStream, vectors } from './data.ts'
import { assertSame, type Context, isLate } from './group.ts'
import { bytesText, GIB, KIB, log, MIB, msText, settleDisk, stat, timed } from './measure.ts'
import { writePlain } from './plain.ts'
import type { Axis, Curve, GroupResult } from './result.ts'
import type { BlobInput, BlobOutput, BlobWork, OpenOutput } from './tasks.ts'

type Points = [number, number][]

const TIME: Axis = { label: 'time', unit: 'ms', scale: 'log' }
const MEMORY: Axis = { label: 'memory', unit: 'bytes', scale: 'linear' }

/** How time and memory grow with everything that grows. */
export async function scaling(context: Context): Promise<GroupResult> {
  const curves: Curve[] = []
  const skipped: string[] = []
  for (const [name, draw] of [
    ['size of the blob', againstBlobSize],
    ['fraction changed', againstFraction],
    ['blocks in the store', againstBlocks],
    ['snapshots kept', againstSnapshots],
    ['persists done', againstPersists],
  ] as const) {
    if (isLate(context)) skipped.push(`curves against ${name}: out of time`)
    else curves.push(...(await draw(context, skipped)))
  }
  // Where time was out before the first point there is nothing to draw.
  const drawn = curves.map((curve) => ({ ...curve, lines: curve.lines.filter(({ points }) => points.length > 0) }))
  return { curves: drawn.filter(({ lines }) => lines.length > 0), skipped }
}

/**
 * Beyond it the blob comes from a stream and is read back by one: a buffer of its size would be the most of what is
 * measured.
 */
const BUFFERED_BYTES_MAX = GIB

async function againstBlobSize(context: Context, skipped: string[]): Promise<Curve[]> {
  const sizes = [1, 4, 16, 64, ...(context.quick ? [128] : [256, 1024, 4096, 10_240])].map((mib) => mib * MIB)
  const time = new Map<string, Points>()
  const memory = new Map<string, Points>()
  const add = (lines: Map<string, Points>, name: string, x: number, values: readonly number[]): void => {
    if (values.length > 0) lines.set(name, [...(lines.get(name) ?? []), [x, stat(values).median]])
  }
  let last = { bytes: 0, ms: 0 }
  for (const bytes of sizes) {
    const expectedMs = last.bytes < GIB ? 0 : last.ms * (bytes / last.bytes)
    if (Date.now() + expectedMs > context.deadlineMs) {
      skipped.push(`a blob of ${bytesText(bytes)}: out of time`)
      continue
    }
    // A store of it and what changed, or a plain copy.
    const { bavail, bsize } = statfsSync(context.scratch)
    if (bavail * bsize < 1.5 * bytes + GIB) {
      skipped.push(`a blob of ${bytesText(bytes)}: no room on the disk`)
      continue
    }
    const streamed = bytes > BUFFERED_BYTES_MAX
    const startMs = performance.now()
    const runs = new Map<string, BlobOutput[]>()
    const plain: number[] = []
    for (let i = 0; i < (bytes >= GIB ? 1 : 3); i++) {
      const store = join(context.scratch, 'size')
      for (const [work, name] of blobWorks(streamed)) {
        settleDisk()
        const input: BlobInput = { store, bytes, streamed, work }
        runs.set(name, [...(runs.get(name) ?? []), await inChild<BlobOutput>(context.program, 'blob', input)])
      }
      rmSync(store, { recursive: true })
      const data = streamed ? readyStream(bytes) : vectors(bytes)
      settleDisk()
      const path = join(context.scratch, 'plain.bin')
      plain.push(await timed(() => writePlain(path, data)))
      rmSync(path)
    }
    for (const [name, outputs] of runs) {
      const ms = outputs.map((output) => output.ms)
      if (name !== 'verify of every byte') add(time, name, bytes, ms)
      const peaks = outputs.map(({ peak }) => peak).filter((peak) => peak !== null)
      add(memory, name, bytes, peaks)
    }
    add(time, 'plain durable write', bytes, plain)
    last = { bytes, ms: performance.now() - startMs }
    log(`${bytesText(bytes)}: ${[...runs].map(([name, [run]]) => `${name} ${msText(run!.ms)}`).join(', ')}`)
  }
  if (memory.size === 0)
    skipped.push('memory against the size of the blob: /proc/self/clear_refs cannot be written here')
  const x: Axis = { label: 'size of the blob', unit: 'bytes', scale: 'log' }
  const how = `from a buffer up to ${bytesText(BUFFERED_BYTES_MAX)}, beyond it from a stream`
  return [
    {
      id: 'size-time',
      title: `Time against the size of the blob (float vectors; ${how})`,
      x,
      y: TIME,
      lines: linesOf(time),
    },
    {
      id: 'size-memory',
      title: `Peak memory beyond the caller's buffers, against the size of the blob (${how})`,
      x,
      y: MEMORY,
      lines: linesOf(memory),
    },
  ]
}

/** In this order: each works on what the one before left. */
function blobWorks(streamed: boolean): (readonly [BlobWork, string])[] {
  return [
    ['first', 'first persist'],
    ['changed', 'persist, 1 % changed all over'],
    ...(streamed ? [] : [['load', 'verified load into a buffer'] as const]),
    ['stream', 'verified stream'],
    ['verify', 'verify of every byte'],
  ]
}

function linesOf(lines: ReadonlyMap<string, Points>): Curve['lines'] {
  return [...lines].map(([name, points]) => ({ name, points }))
}

async function againstBlocks(context: Context, skipped: string[]): Promise<Curve[]> {
  const counts = context.quick ? [1000, 10_000, 100_000] : [1000, 10_000, 100_000, 1_000_000]
  const lines = { first: [] as Points, open: [] as Points, persist: [] as Points, memory: [] as Points }
  for (const blocks of counts) {
    if (isLate(context)) {
      skipped.push(`a store of ${blocks.toLocaleString('en')} blocks: out of time`)
      continue
    }
    const path = join(context.scratch, 'blocks-scaling')
    const small = vectors(10 * KIB, 77)
    const store = await openStore(path, { keepLast: 2 })
    const large = stampedStream(512 * blocks, 512)
    settleDisk()
    lines.first.push([blocks, await timed(() => store.persist({ blobs: { large, small }, chunking: fixed(512) }))])
    await store.tag('large')
    await store.close()
    const opened: OpenOutput[] = []
    for (let i = 0; i < 3; i++) opened.push(await inChild(context.program, 'openSmall', { store: path, blob: 'small' }))
    const persisted: number[] = []
    const again = await openStore(path, { keepLast: 2 })
    for (let i = 0; i < 11; i++) {
      small[i] = i
      persisted.push(await timed(() => again.persist({ blobs: { small } })))
    }
    await again.close()
    rmSync(path, { recursive: true })
    lines.open.push([blocks, stat(opened.map(({ ms }) => ms)).median])
    const peaks = opened.map(({ peak }) => peak).filter((peak) => peak !== null)
    if (peaks.length > 0) lines.memory.push([blocks, stat(peaks).median])
    // The first one in a process may have to look at what is there.
    lines.persist.push([blocks, stat(persisted.slice(1)).median])
    log(`${blocks} blocks: open + load ${msText(lines.open.at(-1)![1])}, persist ${msText(lines.persist.at(-1)![1])}`)
  }
  const x: Axis = { label: 'blocks in the store', unit: 'count', scale: 'log' }
  return [
    {
      id: 'blocks',
      title: 'Small work against the number of blocks in the store',
      x,
      y: TIME,
      lines: [
        { name: 'open + load of 10 KiB, fresh process', points: lines.open },
        { name: 'persist of changed 10 KiB', points: lines.persist },
        { name: 'the first persist of all blocks, for comparison', points: lines.first },
      ],
    },
    {
      id: 'blocks-memory',
      title: 'Memory for open + load of 10 KiB in a fresh process, against the number of blocks in the store',
      x,
      y: MEMORY,
      lines: [{ name: 'peak, the block table included', points: lines.memory }],
    },
  ]
}

/** 100 KiB, of which 10 KiB change each time. */
async function againstSnapshots(context: Context, skipped: string[]): Promise<Curve[]> {
  const marks = context.quick ? [1, 10, 100] : [1, 3, 10, 30, 100, 300, 1000]
  return await manyPersists(context, skipped, {
    id: 'snapshots',
    marks,
    keepLast: 1000,
    title: 'against the number of snapshots kept',
    label: 'snapshots kept',
  })
}

async function againstPersists(context: Context, skipped: string[]): Promise<Curve[]> {
  const marks = context.quick ? [1, 10, 100, 1000] : [1, 10, 30, 100, 300, 1000, 3000, 10_000]
  return await manyPersists(context, skipped, {
    id: 'persists',
    marks,
    keepLast: 3,
    title: 'against the number of persists done, 3 snapshots kept',
    label: 'persists done',
  })
}

async function manyPersists(
  context: Context,
  skipped: string[],
  options: { id: string; marks: number[]; keepLast: number; title: string; label: string },
): Promise<Curve[]> {
  const path = join(context.scratch, options.id)
  const data = vectors(100 * KIB)
  const store = await openStore(path, { keepLast: options.keepLast })
  const recent: number[] = []
  const points: Record<
    'persist' | 'tenth' | 'slowest' | 'load' | 'stored' | 'head' | 'packs' | 'held' | 'opened',
    Points
  > = { persist: [], tenth: [], slowest: [], load: [], stored: [], head: [], packs: [], held: [], opened: [] }
  const heldAtFirst = heldBytes()
  settleDisk()
  for (let i = 1; i <= options.marks.at(-1)!; i++) {
    if (isLate(context)) {
      skipped.push(`more than ${(i - 1).toLocaleString('en')} ${options.label}: out of time`)
      break
    }
    overwrite(data, 0.1, 'run', i)
    recent.push(await timed(() => store.persist({ blobs: { data } })))
    if (!options.marks.includes(i)) continue
    // All since the mark before, merges of packs included.
    const spent = recent.splice(0).sort((a, b) => a - b)
    points.persist.push([i, stat(spent).median])
    points.tenth.push([i, spent[Math.floor(spent.length * 0.9)]!])
    points.slowest.push([i, spent.at(-1)!])
    const loads: number[] = []
    for (let n = 0; n < 5; n++) {
      let found: Uint8Array | null = null
      loads.push(
        await timed(async () => {
          const snapshot = await loadSnapshot(path)
          found = await snapshot!.blob('data').bytes()
          await snapshot!.dispose()
        }),
      )
      assertSame(found!, data, path)
    }
    points.load.push([i, stat(loads).median])
    const names = readdirSync(join(path, 'packs'))
    points.stored.push([i, names.reduce((sum, name) => sum + statSync(join(path, 'packs', name)).size, 0)])
    points.head.push([i, statSync(join(path, 'HEAD.json')).size])
    points.packs.push([i, names.length])
    points.held.push([i, Math.max(0, heldBytes() - heldAtFirst)])
    const { peak } = await inChild<OpenOutput>(context.program, 'openSmall', { store: path, blob: 'data' })
    if (peak !== null) points.opened.push([i, peak])
    log(
      `${i} ${options.label}: persist ${msText(points.persist.at(-1)![1])}, load ${msText(points.load.at(-1)![1])}, ${names.length} packs`,
    )
  }
  await store.close()
  const x: Axis = { label: options.label, unit: 'count', scale: 'log' }
  return [
    {
      id: `${options.id}-time`,
      title: `Time of 100 KiB, a tenth changed, ${options.title}`,
      x,
      y: TIME,
      lines: [
        { name: 'persist, median since the mark before', points: points.persist },
        { name: 'nine of ten of them are faster than', points: points.tenth },
        { name: 'the slowest of them', points: points.slowest },
        { name: 'open + verified load', points: points.load },
      ],
    },
    {
      id: `${options.id}-memory`,
      title: `Memory, ${options.title}`,
      x,
      y: MEMORY,
      lines: [
        { name: 'open + load, fresh process, peak', points: points.opened },
        { name: 'held by the process that persists, garbage collected', points: points.held },
      ],
    },
    {
      id: `${options.id}-bytes`,
      title: `Bytes on disk, ${options.title}`,
      x,
      y: { label: 'bytes on disk', unit: 'bytes', scale: 'log' },
      lines: [
        { name: 'packs', points: points.stored },
        { name: 'HEAD', points: points.head },
      ],
    },
    {
      id: `${options.id}-packs`,
      title: `Number of packs, ${options.title}`,
      x,
      y: { label: 'packs', unit: 'count', scale: 'linear' },
      lines: [{ name: 'packs', points: points.packs }],
    },
  ]
}

/** In JavaScript's heap and in buffers. */
function heldBytes(): number {
  globalThis.gc?.()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

async function againstFraction(context: Context, skipped: string[]): Promise<Curve[]> {
  const bytes = context.quick ? 64 * MIB : 256 * MIB
  const fractions = context.quick ? [0, 0.01, 0.1, 1] : [0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1]
  const time: Record<string, Points> = { run: [], scattered: [], plain: [] }
  const written: Record<string, Points> = { run: [], scattered: [] }
  const data = vectors(bytes)
  for (const fraction of fractions) {
    if (isLate(context)) {
      skipped.push(`${fraction * 100} % changed: out of time`)
      continue
    }
    const runs: Record<string, number[]> = { run: [], scattered: [], plain: [] }
    for (let round = 0; round < (context.quick ? 1 : 2); round++) {
      for (const how of ['run', 'scattered'] as const) {
        const path = join(context.scratch, 'fraction')
        const store = await openStore(path)
        await store.persist({ blobs: { data } })
        const { undo } = overwrite(data, fraction, how, 31 + round)
        settleDisk()
        let bytesWritten = 0
        runs[how]!.push(
          await timed(async () => {
            bytesWritten = (await store.persist({ blobs: { data } })).bytes.written
          }),
        )
        if (round === 0) written[how]!.push([fraction * 100, bytesWritten])
        const snapshot = await store.load()
        assertSame(await snapshot!.blob('data').bytes(), data, path)
        await snapshot!.dispose()
        undo()
        await store.close()
        rmSync(path, { recursive: true })
      }
      settleDisk()
      const plain = join(context.scratch, 'plain.bin')
      runs.plain!.push(await timed(() => writePlain(plain, data)))
      rmSync(plain)
    }
    for (const [name, values] of Object.entries(runs)) time[name]!.push([fraction * 100, stat(values).median])
    log(
      `${fraction * 100} % changed: in one run ${msText(time.run!.at(-1)![1])}, all over ${msText(time.scattered!.at(-1)![1])}`,
    )
  }
  const x: Axis = { label: 'bytes changed in place', unit: 'percent', scale: 'linear' }
  const names = { run: 'changed in one run', scattered: 'changed in 1 KiB records all over' }
  return [
    {
      id: 'fraction-time',
      title: `Time of a persist of ${bytesText(bytes)} against the fraction changed`,
      x,
      y: { ...TIME, scale: 'linear' },
      lines: [
        { name: names.run, points: time.run! },
        { name: names.scattered, points: time.scattered! },
        { name: 'plain durable write of the whole', points: time.plain! },
      ],
    },
    {
      id: 'fraction-bytes',
      title: `Bytes written by a persist of ${bytesText(bytes)} against the fraction changed`,
      x,
      y: { label: 'written', unit: 'bytes', scale: 'linear' },
      lines: [
        { name: names.run, points: written.run! },
        { name: names.scattered, points: written.scattered! },
      ],
    },
  ]
}
