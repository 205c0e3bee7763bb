import { monitorEventLoopDelay } from 'node:perf_hooks'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Chunking, loadSnapshot, memory, openStore } from '../src/index.ts'
import { peakBytes } from './child.ts'
import { overwrite, readyStream, vectors } from './data.ts'
import { generations } from './generations.ts'
import { assertSame, assertSameStream, piecesOf } from './group.ts'
import { MIB, timed } from './measure.ts'
import { serve } from './serving.ts'

// What runs in a process of its own.

export interface BlobInput {
  store: string
  bytes: number
  /** The blob comes from a stream and is read back by one: no buffer holds it. */
  streamed: boolean
  work: BlobWork
}

export type BlobWork = 'first' | 'changed' | 'load' | 'stream' | 'verify'

export interface BlobOutput {
  ms: number
  /** Of resident memory beyond what the caller holds, in bytes; null where it is not known. */
  peak: number | null
}

/**
 * One thing done with one blob. In a process that did nothing else: what an earlier one left behind would hide what
 * this one needs.
 */
async function blob({ store: path, bytes, streamed, work }: BlobInput): Promise<BlobOutput> {
  await warmUp()
  let ms = 0
  const peakOf = (run: () => Promise<unknown>): Promise<number | null> =>
    peakBytes(async () => {
      ms = await timed(run)
    })
  const blobBytes = (): Uint8Array => {
    const data = vectors(bytes)
    if (work !== 'first') overwrite(data, 0.01, 'scattered')
    return data
  }
  const blobStream = (): AsyncGenerator<Uint8Array, void> =>
    readyStream(bytes, { changed: work === 'first' ? 0 : 0.01 })
  let peak: number | null = null
  if (work === 'first' || work === 'changed') {
    const data = streamed ? blobStream() : blobBytes()
    const store = await openStore(path)
    peak = await peakOf(() => store.persist({ blobs: { data } }))
    await store.close()
  } else if (work === 'verify') {
    const store = await openStore(path)
    peak = await peakOf(async () => {
      const { ok, advice } = await store.verify()
      if (!ok) throw new Error(advice)
    })
    await store.close()
  } else if (work === 'load') {
    const loaded: Uint8Array[] = []
    peak = await peakOf(async () => {
      const snapshot = await loadSnapshot(path)
      loaded.push(await snapshot!.blob('data').bytes())
      await snapshot!.dispose()
    })
    assertSame(loaded[0]!, blobBytes(), path)
    if (peak !== null) peak = Math.max(0, peak - bytes)
  } else {
    const expected = streamed ? blobStream() : piecesOf(blobBytes())
    peak = await peakOf(async () => {
      const snapshot = await loadSnapshot(path)
      await assertSameStream(snapshot!.blob('data').stream(), expected, path)
      await snapshot!.dispose()
    })
  }
  return { ms, peak }
}

export interface DelayOutput {
  idle: Delay
  persist: Delay
  changed: Delay
  load: Delay
}

export interface Delay {
  /** ms. */
  p50: number
  p99: number
  max: number
}

/**
 * How late the host's timers are while a blob is persisted and loaded; a timer of 1 ms that is on time counts as 1 ms.
 */
async function eventLoopDelay({ store: path, bytes }: { store: string; bytes: number }): Promise<DelayOutput> {
  await warmUp()
  const data = vectors(bytes)
  const idle = await delayed(() => sleep(2000))
  const store = await openStore(path)
  const persist = await delayed(() => store.persist({ blobs: { data } }))
  overwrite(data, 0.01, 'scattered')
  const changed = await delayed(() => store.persist({ blobs: { data } }))
  await store.close()
  const load = await delayed(async () => {
    const snapshot = await loadSnapshot(path)
    await snapshot!.blob('data').bytes()
    await snapshot!.dispose()
  })
  return { idle, persist, changed, load }
}

async function delayed(work: () => Promise<unknown>): Promise<Delay> {
  globalThis.gc?.()
  await sleep(50)
  const monitor = monitorEventLoopDelay({ resolution: 1 })
  monitor.enable()
  await work()
  // The timer that is late now has not been counted yet.
  await sleep(5)
  monitor.disable()
  return { p50: monitor.percentile(50) / 1e6, p99: monitor.percentile(99) / 1e6, max: monitor.max / 1e6 }
}

export interface OpenOutput {
  ms: number
  peak: number | null
}

/** A start-up: a store is opened and one small blob of it loaded. */
async function openSmall({ store: path, blob }: { store: string; blob: string }): Promise<OpenOutput> {
  await warmUp()
  let ms = 0
  const peak = await peakBytes(async () => {
    ms = await timed(async () => {
      const snapshot = await loadSnapshot(path)
      const bytes = await snapshot!.blob(blob).bytes()
      if (bytes.length === 0) throw new Error('nothing was loaded')
      await snapshot!.dispose()
    })
  })
  return { ms, peak }
}

export interface SeriesInput {
  store: string
  file: string
  chunking: Chunking | null
}

/** Persists all generations of a series; here so that another Node can do it. */
async function persistSeries({ store: path, file, chunking }: SeriesInput): Promise<{ written: number }> {
  const saves = generations(file)
  const store = await openStore(path, { keepLast: saves.length })
  let written = 0
  for (const data of saves) {
    const { bytes } = await store.persist({ blobs: { data }, ...(chunking === null ? {} : { chunking }) })
    written += bytes.written + bytes.compacted
  }
  for (const [i, data] of saves.entries()) {
    const snapshot = await store.load({ at: i + 1 })
    assertSame(await snapshot!.blob('data').bytes(), data, `generation ${i + 1}`)
    await snapshot!.dispose()
  }
  await store.close()
  return { written }
}

/** Modules and addons are loaded, and code is compiled, before anything is measured: a host has long done so. */
async function warmUp(): Promise<void> {
  const store = memory()
  const data = vectors(MIB)
  await store.persist({ blobs: { data } })
  const snapshot = await store.load()
  await snapshot!.blob('data').bytes()
  await snapshot!.dispose()
  await store.close()
}

export const tasks: Record<string, (input: never) => Promise<unknown>> = {
  blob,
  eventLoopDelay,
  openSmall,
  persistSeries,
  serve,
}
