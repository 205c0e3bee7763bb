import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'

// A look at the store from outside, as an operator would have it.

/** Every file of a store with its size and time of change, but for the lock, which is taken by each writer. */
export function listing(store: string): string {
  const paths = readdirSync(store, { recursive: true, encoding: 'utf8' }).sort()
  const files = paths.map((path) => ({ path, stat: statSync(join(store, path)) }))
  return files
    .filter(({ path, stat }) => stat.isFile() && path !== 'writer.lock')
    .map(({ path, stat }) => `${path} ${stat.size} ${stat.mtimeMs}`)
    .join('\n')
}

/** Files that no HEAD names: what a killed writer leaves. */
export function leftovers(store: string): { files: number; bytes: number } {
  const head = JSON.parse(readFileSync(join(store, 'HEAD.json'), 'utf8')) as Record<string, { name: string }[]>
  const named = new Set([...head.packs!, ...head.retired!].map(({ name }) => `${name}.pack`))
  const orphans = packs(store).filter((name) => !named.has(name))
  const temps = readdirSync(join(store, 'tmp'), { recursive: true, encoding: 'utf8' })
  const paths = [...orphans.map((name) => join(store, 'packs', name)), ...temps.map((name) => join(store, 'tmp', name))]
  const files = paths.map((path) => statSync(path)).filter((stat) => stat.isFile())
  return { files: files.length, bytes: files.reduce((sum, { size }) => sum + size, 0) }
}

/** The pack written last. */
export function newestPack(store: string): string {
  const paths = packs(store).map((name) => join(store, 'packs', name))
  return paths.reduce((a, b) => (statSync(a).mtimeMs > statSync(b).mtimeMs ? a : b))
}

function packs(store: string): string[] {
  return readdirSync(join(store, 'packs')).filter((name) => name.endsWith('.pack'))
}

/** Flips the lowest bit of one byte. Doing it twice undoes it. */
export function flipBit(path: string, position: number): void {
  const file = openSync(path, 'r+')
  try {
    if (position >= fstatSync(file).size) throw new RangeError(`${path} has no byte ${position}`)
    const byte = Buffer.alloc(1)
    readSync(file, byte, 0, 1, position)
    byte[0]! ^= 1
    writeSync(file, byte, 0, 1, position)
    fsyncSync(file)
  } finally {
    closeSync(file)
  }
}
