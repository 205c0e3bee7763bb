// How packs are read: sizes and numbers that suit a disk of this machine, and those that suit a server, where a request
// takes as long as megabytes do.

import type { Capabilities } from '../storage/port.ts'

export interface ReadSizes {
  /** Of one read of plain chunks, and of compressed ones in what they give. */
  bytesMax: number
  /** Reading so many unneeded bytes costs less than another read. */
  gapMax: number
  /** Reads compete with the event loop for the processor: so many, and so many bytes, at a time. */
  readsInFlight: number
  bytesInFlight: number
  /** How many parts of a blob are read before they are asked for. */
  partsAhead: number
  /** How many nodes are read before they are walked. */
  nodesAhead: number
  /** At most so many indexes of packs are read together. */
  indexesAtOnce: number
  /** How many reads of a pack whose blocks are copied are under way together. */
  copiesAtOnce: number
}

/**
 * Larger reads gain nothing on page cache or NVMe (measured: 1 to 8 MiB alike, several in flight) and verify later. On
 * two cores with other work on them, 16 MiB under way at a time gave the host a delay of 10 ms (p99), three reads of 2
 * MiB one of 7 ms in the same time. Small ones need to be many: three at a time took half as long again. But they come
 * back together: of a blob with 1 % changed all over, 384 at a time gave a delay of 8.3 ms, 24 of 5.8 ms in a tenth
 * more time.
 */
const NEAR: ReadSizes = {
  bytesMax: 2 * 1024 * 1024,
  gapMax: 128 * 1024,
  readsInFlight: 24,
  bytesInFlight: 6 * 1024 * 1024,
  partsAhead: 1,
  nodesAhead: 0,
  indexesAtOnce: 1,
  copiesAtOnce: 1,
}

/**
 * A segment of a blob, with nodes between its chunks, is one range. With 30 ms a request, ranges of 256 KiB gave 50
 * MiB/s, of 4 MiB 272, of 16 MiB 333, eight at a time. Beside a server with 30 ms, 16 segments ahead and 128 MiB under
 * way gave 0.82 to 0.90 of plain GETs of 16 MiB, where 8 and 64 MiB gave 0.66 to 0.72 (medians of 5).
 */
const FAR: ReadSizes = {
  bytesMax: 8 * 1024 * 1024,
  gapMax: 512 * 1024,
  readsInFlight: 16,
  bytesInFlight: 128 * 1024 * 1024,
  partsAhead: 16,
  nodesAhead: 16,
  indexesAtOnce: 8,
  copiesAtOnce: 16,
}

export function readSizesOf({ far }: Pick<Capabilities, 'far'>): ReadSizes {
  return far ? FAR : NEAR
}
