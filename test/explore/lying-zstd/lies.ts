/*
 * A compressor that lies, below the real code. Of every two calls one is honest; the others are, in turn:
 *
 *   - frames that are whole and of other bytes: one bit of the block was changed; the block before; the block before in
 *     the right length
 *   - frames of fewer bytes, and of more
 *   - frames that are damaged: a bit flipped in the middle, cut short, bytes after the end, no frame at all
 *   - nothing; an error; a trap of WebAssembly
 *
 * What it gives is overwritten by the next call, as libzstd's memory is.
 */

type Compress = (bytes: Uint8Array) => Uint8Array

interface Call {
  bytes: Uint8Array
  compress: Compress
  /** The block that was compressed last. */
  before: Uint8Array
}

const lies: Record<string, (call: Call) => Uint8Array> = {
  'one bit changed': ({ bytes, compress }) => compress(changed(bytes)),
  'the block before': ({ before, compress }) => compress(before),
  'the block before, in the right length': ({ bytes, before, compress }) => compress(fitted(before, bytes.length)),
  'one byte less': ({ bytes, compress }) => compress(bytes.subarray(0, -1)),
  'one byte more': ({ bytes, compress }) => compress(fitted(bytes, bytes.length + 1)),
  'a bit flipped in the frame': ({ bytes, compress }) => changed(compress(bytes)),
  'a frame cut short': ({ bytes, compress }) => compress(bytes).subarray(0, -1),
  'a byte after the frame': ({ bytes, compress }) => Buffer.concat([compress(bytes), Uint8Array.of(0)]),
  'no frame': () => new Uint8Array(100).fill(0x28),
  nothing: () => new Uint8Array(0),
  'an error': () => {
    throw new Error('no compression today')
  },
  'a trap': () => {
    throw new RangeError('Maximum call stack size exceeded')
  },
}

/** How often each lie was told in this thread. */
export const told = new Map<string, number>(Object.keys(lies).map((name) => [name, 0]))

export function lying(compress: Compress): Compress {
  const names = Object.keys(lies)
  const out = new Uint8Array(17 * 1024 * 1024)
  let calls = 0
  let before: Uint8Array = Buffer.from('there was no block before this one; '.repeat(100))
  return (bytes) => {
    const name = calls % 2 === 0 ? null : names[((calls - 1) / 2) % names.length]!
    calls += 1
    const call = { bytes, compress, before }
    before = bytes.slice()
    if (name !== null) told.set(name, told.get(name)! + 1)
    const frame = name === null ? compress(bytes) : lies[name]!(call)
    out.set(frame)
    return out.subarray(0, frame.length)
  }
}

function changed(bytes: Uint8Array): Uint8Array {
  const copy = bytes.slice()
  copy[copy.length >> 1]! ^= 1
  return copy
}

function fitted(bytes: Uint8Array, length: number): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => bytes[i % bytes.length]!)
}
