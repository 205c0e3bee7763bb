// AssemblyScript. The content chunker's inner loop; `format/chunking.ts` is its specification, and a property test
// holds the two together. The memory is imported and shared: windows are filled by the main thread and cut where they
// lie.

/** The table of 256 64-bit integers lies at address 0; the host writes it. */
const TABLE: usize = 0

/** Length of the first chunk of [start, end). */
export function one(start: usize, end: usize, average: usize): usize {
  const n = end - start
  const min = average >> 2
  if (n <= min) return n
  const bits: u64 = ctz<u64>(<u64>average)
  const maskS: u64 = ~(u64.MAX_VALUE >> (bits + 2))
  const maskL: u64 = ~(u64.MAX_VALUE >> (bits - 2))
  const averageAt = start + (average < n ? average : n)
  const max = average << 2
  const maxAt = start + (max < n ? max : n)
  let i = start + min
  let h: u64 = 0
  // Two bytes an iteration: the loads of the second do not wait for the first's comparison.
  while (i + 1 < averageAt) {
    h = (h << 1) + load<u64>(TABLE + (<usize>load<u8>(i) << 3))
    if ((h & maskS) == 0) return i + 1 - start
    h = (h << 1) + load<u64>(TABLE + (<usize>load<u8>(i, 1) << 3))
    i += 2
    if ((h & maskS) == 0) return i - start
  }
  while (i < averageAt) {
    h = (h << 1) + load<u64>(TABLE + (<usize>load<u8>(i) << 3))
    i++
    if ((h & maskS) == 0) return i - start
  }
  while (i + 1 < maxAt) {
    h = (h << 1) + load<u64>(TABLE + (<usize>load<u8>(i) << 3))
    if ((h & maskL) == 0) return i + 1 - start
    h = (h << 1) + load<u64>(TABLE + (<usize>load<u8>(i, 1) << 3))
    i += 2
    if ((h & maskL) == 0) return i - start
  }
  while (i < maxAt) {
    h = (h << 1) + load<u64>(TABLE + (<usize>load<u8>(i) << 3))
    i++
    if ((h & maskL) == 0) return i - start
  }
  return i - start
}
