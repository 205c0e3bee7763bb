// What the n-th snapshot holds, for processes that must agree on it without speaking to each other.

/** Bytes that depend on `seed` alone and do not repeat (mulberry32). */
function noise(seed, bytes) {
  const words = new Uint32Array(bytes / 4)
  let state = Math.imul(seed + 1, 0x9e3779b1) | 0
  for (let i = 0; i < words.length; i++) {
    state = (state + 0x6d2b79f5) | 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    words[i] = t ^ (t >>> 14)
  }
  return Buffer.from(words.buffer)
}

const shared = noise(1_000_000, 200_000)

/** Three blobs: one that grows out of what all snapshots share, one of this snapshot alone, and a small one. */
export function blobsOf(n) {
  const grown = Buffer.from(shared)
  for (let i = 0; i < 5; i++) grown.writeUInt32LE(n, (n * 7919 + i * 40_009) % 199_000)
  return { grown, own: noise(n, 20_000 + (n % 7) * 4_000), small: Buffer.from(`the ${n}th`) }
}

/** Throws unless the snapshot is exactly the one that its metadata says. Answers its n. */
export async function verify(snapshot) {
  const { n } = snapshot.metadata
  const expected = blobsOf(n)
  const names = [...snapshot.names].sort().join()
  if (names !== 'grown,own,small') throw new Error(`snapshot ${snapshot.sequence} has blobs ${names}`)
  for (const [name, bytes] of Object.entries(expected)) {
    const blob = snapshot.blob(name)
    if (Buffer.compare(await blob.bytes(), bytes) !== 0) throw new Error(`${name} of snapshot ${n} has wrong bytes`)
    let at = 0
    for await (const part of blob.stream()) {
      if (Buffer.compare(part, bytes.subarray(at, at + part.length)) !== 0) {
        throw new Error(`${name} of snapshot ${n} streams wrong bytes`)
      }
      at += part.length
    }
    if (at !== bytes.length) throw new Error(`${name} of snapshot ${n} streams ${at} bytes`)
  }
  return n
}
