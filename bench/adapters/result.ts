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

export interface EngineResult {
  version: string
  documents: number
  textBytes: number
  layout: Bytes
  tried: { layout: string; bytes: Bytes }[]
  /** New bytes of other programs, on the engine's own files. */
  others: { name: string; written: Record<Change, number> | null }[]
  ownBytes: number
  ownWhat: string
  ours: Cost
  own: Cost
  runs: number
}

export interface Results {
  machine: string
  engines: Record<string, EngineResult>
}
