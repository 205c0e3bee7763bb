import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fixed, loadSnapshot, openStore } from '../src/index.ts'
import { inChild } from './child.ts'
import { overwrite, stampedStream, vectors } from './data.ts'
import { assertSame, type Context, isLate } from './group.ts'
import { bytesText, GIB, KIB, log, MIB, msText, settleDisk, stat, timed } from './measure.ts'
import { writePlain } from './plain.ts'
import type { Axis, Curve, GroupResult } from './result.ts'
import type { MemoryOutput, OpenOutput } from './tasks.ts'

const TIME: Axis = { label: 'time', unit: 'ms', scale: 'log' }

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
  return { curves, skipped }
}

async function againstBlobSize(context: Context, skipped: string[]): Promise<Curve[]> {
  const sizes = [1, 4, 16, 64, ...(context.quick ? [128] : [256, 1024, 2047])].map((mib) => mib * MIB)
  const time = { persist: [] as [number, number][], load: [] as [number, number][], plain: [] as [number, number][] }
  const peaks = new Map<string, [number, number][]>()
  for (const bytes of sizes) {
    if (isLate(context)) {
      skipped.push(`a blob of ${bytesText(bytes)}: out of time`)
      continue
    }
    const runs: MemoryOutput[] = []
    const plain: number[] = []
    for (let i = 0; i < (bytes >= GIB ? 1 : 3); i++) {
      const store = join(context.scratch, 'size')
      runs.push(await inChild<MemoryOutput>(context.program, 'blobMemory', { store, bytes }))
      rmSync(store, { recursive: true })
      const data = vectors(bytes)
      settleDisk()
      const path = join(context.scratch, 'plain.bin')
      plain.push(await timed(() => writePlain(path, data)))
      rmSync(path)
    }
    time.persist.push([bytes, stat(runs.map(({ persistMs }) => persistMs)).median])
    time.load.push([bytes, stat(runs.map(({ loadMs }) => loadMs)).median])
    time.plain.push([bytes, stat(plain).median])
    for (const [field, name] of [
      ['persistPeak', 'first persist'],
      ['changedPeak', 'persist, 1 % changed'],
      ['loadPeak', 'verified load'],
      ['streamPeak', 'verified stream'],
    ] as const) {
      const values = runs.map((run) => run[field]).filter((peak) => peak !== null)
      if (values.length > 0) peaks.set(name, [...(peaks.get(name) ?? []), [bytes, stat(values).median]])
    }
    log(`${bytesText(bytes)}: persist ${msText(time.persist.at(-1)![1])}, load ${msText(time.load.at(-1)![1])}`)
  }
  const x: Axis = { label: 'size of the blob', unit: 'bytes', scale: 'log' }
  return [
    {
      id: 'size-time',
      title: 'Time against the size of the blob (float vectors)',
      x,
      y: TIME,
      lines: [
        { name: 'first persist', points: time.persist },
        { name: 'plain durable write', points: time.plain },
        { name: 'verified load', points: time.load },
      ],
    },
    {
      id: 'size-memory',
      title: "Peak memory beyond the caller's buffers, against the size of the blob",
      x,
      y: { label: 'memory', unit: 'bytes', scale: 'linear' },
      lines: [...peaks].map(([name, points]) => ({ name, points })),
    },
  ]
}

async function againstBlocks(context: Context): Promise<Curve[]> {
  const counts = context.quick ? [1000, 10_000, 100_000] : [1000, 10_000, 100_000, 1_000_000]
  const lines = { open: [] as [number, number][], persist: [] as [number, number][] }
  for (const blocks of counts) {
    const path = join(context.scratch, 'blocks-scaling')
    const small = vectors(10 * KIB, 77)
    const store = await openStore(path, { keepLast: 2 })
    await store.persist({ blobs: { large: stampedStream(512 * blocks, 512), small }, chunking: fixed(512) })
    await store.tag('large')
    await store.close()
    const opened: number[] = []
    for (let i = 0; i < 3; i++) {
      opened.push((await inChild<OpenOutput>(context.program, 'openSmall', { store: path, blob: 'small' })).ms)
    }
    const persisted: number[] = []
    const again = await openStore(path, { keepLast: 2 })
    for (let i = 0; i < 11; i++) {
      small[i] = i
      persisted.push(await timed(() => again.persist({ blobs: { small } })))
    }
    await again.close()
    rmSync(path, { recursive: true })
    lines.open.push([blocks, stat(opened).median])
    // The first one in a process may have to look at what is there.
    lines.persist.push([blocks, stat(persisted.slice(1)).median])
    log(`${blocks} blocks: open + load ${msText(lines.open.at(-1)![1])}, persist ${msText(lines.persist.at(-1)![1])}`)
  }
  return [
    {
      id: 'blocks',
      title: 'Small work against the number of blocks in the store',
      x: { label: 'blocks in the store', unit: 'count', scale: 'log' },
      y: TIME,
      lines: [
        { name: 'open + load of 10 KiB, fresh process', points: lines.open },
        { name: 'persist of changed 10 KiB', points: lines.persist },
      ],
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
  const persist: [number, number][] = []
  const slowest: [number, number][] = []
  const load: [number, number][] = []
  const stored: [number, number][] = []
  const packs: [number, number][] = []
  let last = 0
  settleDisk()
  for (let i = 1; i <= options.marks.at(-1)!; i++) {
    if (isLate(context)) {
      skipped.push(`more than ${i - 1} ${options.label}: out of time`)
      break
    }
    overwrite(data, 0.1, 'run', i)
    recent.push(await timed(() => store.persist({ blobs: { data } })))
    if (!options.marks.includes(i)) continue
    // All since the mark before, merges of packs included.
    const spent = stat(recent.slice(last))
    last = recent.length
    persist.push([i, spent.median])
    slowest.push([i, spent.max])
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
    load.push([i, stat(loads).median])
    const names = readdirSync(join(path, 'packs'))
    stored.push([i, names.reduce((sum, name) => sum + statSync(join(path, 'packs', name)).size, 0)])
    packs.push([i, names.length])
    log(
      `${i} ${options.label}: persist ${msText(spent.median)}, load ${msText(load.at(-1)![1])}, ${names.length} packs`,
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
        { name: 'persist, median since the mark before', points: persist },
        { name: 'the slowest of them', points: slowest },
        { name: 'open + verified load', points: load },
      ],
    },
    {
      id: `${options.id}-bytes`,
      title: `Bytes in packs, ${options.title}`,
      x,
      y: { label: 'bytes in packs', unit: 'bytes', scale: 'log' },
      lines: [{ name: 'packs', points: stored }],
    },
    {
      id: `${options.id}-packs`,
      title: `Number of packs, ${options.title}`,
      x,
      y: { label: 'packs', unit: 'count', scale: 'linear' },
      lines: [{ name: 'packs', points: packs }],
    },
  ]
}

async function againstFraction(context: Context): Promise<Curve[]> {
  const bytes = context.quick ? 64 * MIB : 256 * MIB
  const fractions = context.quick ? [0, 0.01, 0.1, 1] : [0, 0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 1]
  const time: Record<string, [number, number][]> = { run: [], scattered: [], plain: [] }
  const written: Record<string, [number, number][]> = { run: [], scattered: [] }
  const data = vectors(bytes)
  for (const fraction of fractions) {
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
