import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { describe, expect, test } from 'vitest'
import { findStale, type QuarantineStaleOptions, quarantineStale, type Stale } from '../../src/durable.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { findLagging } from '../../src/fs/stale.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { systemError } from '../support/watched-disk.ts'

/** Seconds since 1970. */
const base = 1_700_000_000

function put(path: string, seconds: number): string {
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, '')
  utimesSync(path, base + seconds, base + seconds)
  return path
}

/** A source written at 100 s, and an index directory whose files were written at 10 s and 90 s. */
function place() {
  const root = scratch()
  const source = put(join(root, 'data.sqlite'), 100)
  const derived = join(root, 'index')
  put(join(derived, 'links'), 10)
  put(join(derived, 'deep', 'vectors'), 90)
  return { root, source, derived }
}

const quiet = { log: () => undefined }

describe('an index', () => {
  test('is stale when its newest file is older than its source by more than the threshold', async () => {
    const { source, derived } = place()
    const expected: Stale = {
      path: derived,
      source,
      sourceMs: (base + 100) * 1000,
      derivedMs: (base + 90) * 1000,
      lagMs: 10_000,
    }
    expect(await findStale({ derived, source, olderThanMs: 9_999, ...quiet })).toEqual([expected])
    expect(await findStale({ derived, source, olderThanMs: 10_000, ...quiet })).toEqual([])
  })

  test('that is newer than its source is not stale, however low the threshold', async () => {
    const { source, derived } = place()
    put(join(derived, 'more'), 101)
    expect(await findStale({ derived, source, olderThanMs: 0, ...quiet })).toEqual([])
  })

  test('is compared with the newest of all sources, directories among them, and may be one of several, or a file', async () => {
    const { root, source, derived } = place()
    const wal = put(join(root, 'more', 'data.sqlite-wal'), 200)
    const other = put(join(root, 'other.bin'), 150)
    const found = await findStale({
      derived: [pathToFileURL(derived), other, join(root, 'none')],
      source: [source, dirname(wal), join(root, 'none')],
      olderThanMs: 60_000,
      ...quiet,
    })
    expect(found.map(({ path, source: newest, lagMs }) => [path, newest, lagMs])).toEqual([[derived, wal, 110_000]])
  })

  test('that is missing, empty, or has no source is passed over', async () => {
    const { root, source, derived } = place()
    mkdirSync(join(root, 'empty', 'deep'), { recursive: true })
    const olderThanMs = 0
    expect(await findStale({ derived: [join(root, 'none'), join(root, 'empty')], source, olderThanMs })).toEqual([])
    expect(await findStale({ derived, source: join(root, 'none'), olderThanMs })).toEqual([])
    expect(await findStale({ derived, source: join(root, 'empty'), olderThanMs })).toEqual([])
    expect(await findStale({ derived: join(source, 'below-a-file'), source, olderThanMs })).toEqual([])
  })

  test('is judged by its own files only: not by temps, quarantine, directories, links, or those left out', async () => {
    const { root, source, derived } = place()
    put(join(derived, '.vectors.12-0-abc-0123456789abcdef01234567.tmp'), 500)
    put(join(derived, '.vectors.12-0-abc-0123456789abcdef01234567.tmp.d', 'vectors'), 500)
    put(join(derived, 'links.bad.2024-05-06T070809.010Z.0123456789abcdef'), 500)
    put(join(derived, 'deep', 'engine.log'), 500)
    symlinkSync(put(join(root, 'elsewhere'), 500), join(derived, 'link'))
    const seen: string[] = []
    const files = (path: string) => {
      seen.push(path)
      return !path.endsWith('.log')
    }
    const [stale] = await findStale({ derived, source, olderThanMs: 5_000, files, ...quiet })
    expect(stale?.lagMs).toBe(10_000)
    expect(seen.sort()).toEqual(['deep/engine.log', 'deep/vectors', 'links'])
    expect(await findStale({ derived, source, olderThanMs: 5_000, ...quiet })).toEqual([])
  })

  test('that cannot be looked at is an error, not a missing one', async () => {
    const { source, derived } = place()
    const fs: FileSystem = { ...nodeFileSystem, readdir: () => Promise.reject(systemError('EACCES', 'scandir')) }
    const options = { derived: [derived], source: [source], olderThanMs: 0, files: () => true }
    await rejects(findLagging(fs, options), 'IO_FAILED')
  })

  test('that is stale is told of with the measured difference, by default as a warning of the process', async () => {
    const { source, derived } = place()
    const told: [string, Stale][] = []
    await findStale({ derived, source, olderThanMs: 1_500, log: (message, stale) => told.push([message, stale]) })
    expect(told).toEqual([
      [
        `${derived} was last written 10 s before ${source}, from which it is made (1.5 s are allowed)`,
        expect.anything(),
      ],
    ])
    const warned = new Promise<Error & { code?: string }>((resolve) => process.once('warning', resolve))
    await findStale({ derived, source, olderThanMs: 1_500 })
    expect(await warned).toMatchObject({ name: 'HoldfastWarning', code: 'STALE', message: told[0]![0] })
  })
})

describe('moving the stale into quarantine', () => {
  test('takes those, and leaves the rest', async () => {
    const { root, source, derived } = place()
    const fresh = join(root, 'fresh')
    put(join(fresh, 'a'), 99)
    const told: string[] = []
    const log = (message: string) => told.push(message)
    const moved = await quarantineStale({ derived: [derived, fresh], source, olderThanMs: 5_000, log })
    expect(moved).toEqual([
      {
        path: derived,
        source,
        lagMs: 10_000,
        sourceMs: expect.any(Number),
        derivedMs: expect.any(Number),
        to: expect.any(String),
      },
    ])
    expect(basename(moved[0]!.to!)).toMatch(/^index\.stale\./)
    expect([existsSync(derived), readdirSync(moved[0]!.to!).sort(), told.length]).toEqual([false, ['deep', 'links'], 1])
    // Nothing is left to do, also for what was moved.
    const again = { source, olderThanMs: 5_000, log }
    expect(await quarantineStale({ derived: [derived, fresh, moved[0]!.to!], ...again })).toEqual([])
  })

  test('says why in the note, in a directory and with a reason of the caller', async () => {
    const { root, source, derived } = place()
    const directory = join(root, 'aside')
    const [moved] = await quarantineStale({ derived, source, olderThanMs: 0, reason: 'behind', directory, ...quiet })
    expect(dirname(moved!.to!)).toBe(directory)
    const note = JSON.parse(readFileSync(`${moved!.to}.json`, 'utf8'))
    expect(note).toMatchObject({ reason: 'behind', original: derived, details: { lagMs: 10_000, olderThanMs: 0 } })
  })

  test('refuses thresholds that are none', async () => {
    const { source, derived } = place()
    for (const options of [
      undefined,
      { derived, source },
      { derived, source, olderThanMs: -1 },
      { source, olderThanMs: 1 },
    ]) {
      expect(await failure(findStale(options as QuarantineStaleOptions))).toBeInstanceOf(TypeError)
      expect(await failure(quarantineStale(options as QuarantineStaleOptions))).toBeInstanceOf(TypeError)
    }
    expect(existsSync(derived)).toBe(true)
  })
})
