// The system's directory of temporary files is small, read-only or missing: files in between go into the store's own.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, describe, expect, type TestContext, test, vi } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { type SqliteLike, sqlite } from '../../src/engines/sqlite.ts'
import { type UsearchLike, usearch } from '../../src/engines/usearch.ts'
import { memory, openStore } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { mountTmpfs, remount } from '../support/mounted.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

const BYTES = 300_000

/** An engine of one file, as usearch is. */
class Engine implements UsearchLike {
  bytes: Uint8Array
  path = ''
  constructor(given: object) {
    this.bytes = (given as { bytes?: Uint8Array }).bytes ?? new Uint8Array(10)
  }
  save(path: string): void {
    writeFileSync(path, this.bytes)
  }
  load(path: string): void {
    this.path = path
    this.bytes = readFileSync(path)
  }
  dimensions(): number {
    return 4
  }
}
const engineOf = (bytes: Uint8Array): Engine => new Engine({ bytes })
const adapterOf = (temporaryDirectory?: string) => usearch(Engine, { dimensions: 4 }, { temporaryDirectory })

interface Database extends SqliteLike {
  path: string
  close(): void
}
const open = (path: string): Database => ({ path, close: () => undefined, prepare: () => ({ get: () => ({ n: 1 }) }) })
const databases = sqlite(open, { backup: async (database, to) => writeFileSync(to, readFileSync(database.path)) })

afterEach(() => vi.unstubAllEnvs())

const places: [string, (context: TestContext) => string][] = [
  ['is not there, and cannot be made', () => join(fileIn(scratch()), 'tmp')],
  ['has no room', (context) => mountTmpfs(context, 'size=64k')],
  ['is read-only', readOnlyMount],
]

function fileIn(directory: string): string {
  const path = join(directory, 'file')
  writeFileSync(path, 'text')
  return path
}

function readOnlyMount(context: TestContext): string {
  const path = mountTmpfs(context, 'size=1m')
  remount(path, 'ro')
  return path
}

describe.each(places)('a directory of temporary files that %s', (_, place) => {
  test('does not matter to an engine of one file, in a new store and in one that is there', async (context) => {
    const store = join(scratch(), 'store')
    const bytes = noise(BYTES, 1)
    const tmp = place(context)
    vi.stubEnv('TMPDIR', tmp)
    for (const n of [1, 2]) {
      bytes[0] = n
      await persistEngine(store, adapterOf(), engineOf(bytes))
      const restored = (await restoreEngine(store, adapterOf()))!
      expect(Buffer.compare(restored.engine.bytes, bytes)).toBe(0)
      expect(restored.engine.path.startsWith(join(store, 'files'))).toBe(true)
      await restored.dispose()
    }
    await persistEngine(store, adapterOf(), engineOf(noise(BYTES, 2)), { check: true })
    expect(readdirSync(join(store, 'tmp'))).toEqual([])
    if (existsSync(tmp)) expect(readdirSync(tmp)).toEqual([])
  })

  test('does not matter to a database, which stays where it was restored', async (context) => {
    const [store, original] = [join(scratch(), 'store'), join(scratch(), 'original')]
    const bytes = noise(BYTES, 3)
    writeFileSync(original, bytes)
    vi.stubEnv('TMPDIR', place(context))
    await persistEngine(store, databases, open(original))
    const restored = (await restoreEngine(store, databases))!
    await restored.dispose()
    await persistEngine(store, databases, open(original), { message: 'a write, which clears tmp/' })
    expect(Buffer.compare(readFileSync(restored.engine.path), bytes)).toBe(0)
    expect(restored.engine.path.startsWith(join(store, 'tmp'))).toBe(true)
  })

  test('is told of where there is nowhere else, and where the caller said where', async (context) => {
    const store = join(scratch(), 'store')
    const engine = engineOf(noise(BYTES, 4))
    // With an image there would be no file in between.
    await persistEngine(store, adapterOf(), engine, { image: 'none' })
    const foreign = scratch()
    writeFileSync(join(foreign, 'notes.txt'), 'mine')
    const tmp = place(context)
    const given = scratch()
    const told = async (work: Promise<unknown>): Promise<void> => {
      await expect(work).rejects.toMatchObject({
        name: 'HoldfastError',
        message: expect.stringMatching(/temporaryDirectory with room .* or set TMPDIR/) as string,
      })
    }
    await told(persistEngine(store, adapterOf(join(tmp, 'mine')), engine))
    await told(restoreEngine(store, adapterOf(join(tmp, 'mine'))))
    vi.stubEnv('TMPDIR', tmp)
    await told(persistEngine(memory(), adapterOf(), engine))
    await told(restoreEngine(store, adapterOf(), { readOnly: true }))
    await told(restoreEngine(store, adapterOf(), { lock: 'none' }))
    await told(persistEngine(foreign, adapterOf(), engine))
    expect(readdirSync(foreign)).toEqual(['notes.txt'])
    // A directory that was given is used, and no other.
    await persistEngine(store, adapterOf(given), engineOf(noise(BYTES, 5)))
    expect(readdirSync(join(store, 'tmp'))).toEqual([])
  })
})

test('what an engine itself refuses is not tried twice', async () => {
  let saves = 0
  class Broken extends Engine {
    override save(path: string): void {
      saves += 1
      if (this.bytes.length > 10) throw new TypeError('no')
      super.save(path)
    }
  }
  const store = await openStore(join(scratch(), 'store'))
  const adapter = usearch(Broken, { dimensions: 4 }, { temporaryDirectory: scratch() })
  await rejects(persistEngine(store, adapter, new Broken({ bytes: noise(50, 1) })), 'SOURCE_FAILED')
  expect(saves).toBe(2)
})
