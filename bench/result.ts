/** What a benchmark found out. Everything here is JSON: the report is drawn from it and nothing else. */
export interface GroupResult {
  comparisons?: Comparison[]
  facts?: Fact[]
  rivals?: RivalTable[]
  series?: SeriesTable[]
  rates?: RateTable[]
  curves?: Curve[]
  counts?: CountRow[]
  /** What was not run, and why. */
  skipped?: string[]
}

/** Median and range of some runs. */
export interface Stat {
  median: number
  min: number
  max: number
  runs: number
}

/** One kind of work, done by holdfast and by something plain, in turn. Times in ms. */
export interface Comparison {
  id: string
  /** What it was done with: `1 GiB of float vectors`. */
  data: string
  work: string
  against: string
  ours: Stat
  theirs: Stat
  /** ours / theirs, of runs beside each other. */
  ratio: Stat
  /** The same of processor time, all threads together: what others do on the machine does not show in it. */
  cpu?: Stat
  /** The ratio to reach or stay below; none where the row is only of interest. */
  target?: number
}

export interface Fact {
  id: string
  what: string
  value: number
  unit: string
  /** To reach or stay below. */
  target?: number
  detail?: string
}

export interface RivalTable {
  data: string
  bytes: number
  rows: RivalRow[]
}

export interface RivalRow {
  name: string
  /** What it does to be durable, as it was run. */
  durability: string
  /** ms; null when skipped. */
  persist: Stat | null
  /** Into memory for libraries, into a file for tools. */
  restore: Stat | null
  storedBytes: number | null
}

export interface SeriesTable {
  name: string
  change: string
  generations: number
  /** Of all generations together. */
  logicalBytes: number
  rows: { name: string; bytes: number }[]
}

/** The same work by several, each at its own durable setting; holdfast is the first row. */
export interface RateTable {
  work: string
  unit: string
  rows: { name: string; durability: string; rate: Stat }[]
  /** For holdfast to reach or exceed. */
  target?: number
}

export interface Curve {
  id: string
  title: string
  x: Axis
  y: Axis
  lines: { name: string; points: [number, number][] }[]
}

export interface Axis {
  label: string
  unit: 'bytes' | 'ms' | 'count' | 'percent'
  scale: 'log' | 'linear'
}

/** File-system operations of one persist or load. */
export interface CountRow {
  operation: string
  calls: Record<string, number>
  bytesRead: number
  bytesWritten: number
}

export interface Run {
  started: string
  quick: boolean
  machine: Record<string, string>
  versions: Record<string, string>
  groups: Record<string, { finished: string; seconds: number; load: number; error?: string; result: GroupResult }>
}
