// Works with the clock moved by so many ms, and changing while it works, if told so.
const [, , path, offset, generation, keepLast] = process.argv
const RealDate = Date
let moved = Number(offset)
globalThis.Date = class extends RealDate {
  constructor(...given) {
    super(...(given.length === 0 ? [RealDate.now() + moved] : given))
  }
  static now() {
    return RealDate.now() + moved
  }
}

// Only now: the clock is taken when the module loads.
const { openStore } = await import('../../dist/index.js')

const store = await openStore(path, { keepLast: Number(keepLast) })
const saved = await store.persist({
  blobs: { index: new Uint8Array(100_000).fill(Number(generation)) },
  message: generation,
  onProgress: () => {
    // Back by a day at each step of the way.
    moved -= 86_400_000
  },
})
const snapshots = await store.snapshots()
await store.close()
console.log(JSON.stringify({ sequence: saved.sequence, kept: snapshots.map(({ message }) => message) }))
