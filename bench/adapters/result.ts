/** What is done to an engine before its second snapshot. */
export const CHANGES = ['nothing', 'add', 'update', 'remove'] as const
export type Change = (typeof CHANGES)[number]

export interface Bytes {
  /** Of the snapshot of the base. */
  total: number
  /** Of the files it was written to. */
  first: number
  /** Written for the snapshot after each change. */
  written: Record<Change, number>
}

export interface Cost {
  saveMs: number
  /** Of all threads. */
  saveCpuMs: number
  savePeak: number | null
  saveBlockMs: number
  loadMs: number
  loadCpuMs: number
  loadPeak: number | null
  loadBlockMs: number
}

/** What is compared with the engine's own, in the order of the table. */
export const MEASURES = ['first', 'changed', 'unchanged', 'image', 'assembled', 'view'] as const
export type Measure = (typeof MEASURES)[number]

export interface Measured {
  /** Median. */
  ms: number
  /** That reached the disk, or will; median. */
  writtenBytes: number | null
}

export interface Ratio {
  ours: Measured
  own: Measured
  /** Of the ratios of all rounds. */
  median: number
  quartiles: { lower: number; upper: number }
  rounds: number
}

export interface Ratios {
  measures: Partial<Record<Measure, Ratio>>
  load: { start: number; end: number }
  date: string
  node: string
  /** Below 0: before other work of the machine. */
  priority: number
}

/** Turns of the event loop, in processor time of the main thread, without the engine's own calls. */
export interface Turns {
  longestMs: number
  p99Ms: number
}

/** Medians over rounds. */
export interface Stalls {
  save: Turns
  restore: Turns
  /** Of the copy that a save makes at one go. */
  captureMs: number
  /** Of the engine's own export into memory. */
  exportMs: number
  captureRatio: number
  rounds: number
  load: { start: number; end: number }
  date: string
  node: string
}

export interface EngineResult {
  /** Of the engine. */
  version: string
  /** Cores, memory, system, Node. */
  machine: string
  /** The day of the measurement. */
  date: string
  /** Processes that wanted to run in the last minute, at the start and at the end. */
  load: { start: number; end: number }
  /** What is in the engine. */
  content: string
  /** Names our layout in the list of those that were tried. */
  layoutName: string
  layout: Bytes
  tried: { layout: string; bytes: Bytes }[]
  /** New bytes of other programs, on the engine's own files. */
  others: { name: string; written: Record<Change, number> | null }[]
  /** Of the engine's own files: of the base, and after each change. */
  ownBytes: number
  ownAfter: Record<Change, number>
  ownWhat: string
  ours: Cost
  own: Cost
  runs: number
  ratios?: Record<string, Ratios>
  stalls?: Record<string, Stalls>
}

export interface Results {
  engines: Record<string, EngineResult>
}
