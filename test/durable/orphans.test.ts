import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { reapOrphans, writeFileDurable } from '../../src/durable.ts'
import { HoldfastError } from '../../src/errors.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { orphanPattern, reapSiblings } from '../../src/fs/orphans.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { isSiblingTemp, isTempName, siblingAffixes } from '../../src/fs/sibling-temps.ts'
import { sample } from '../support/effort.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { systemError } from '../support/watched-disk.ts'
import { startChild } from './children.ts'

const hour = 60 * 60 * 1000

function put(directory: string, name: string, ageMs = 0): string {
  const path = join(directory, name)
  writeFileSync(path, name)
  const at = (Date.now() - ageMs) / 1000
  utimesSync(path, at, at)
  return path
}

/** As a killed writer leaves it. */
function putTemp(directory: string, name: string, ageMs = 0): string {
  const { prefix, suffix } = siblingAffixes(name)
  return put(directory, `${prefix}${'0123456789ab'.repeat(2)}${suffix}`, ageMs)
}

const names = (directory: string) => readdirSync(directory).sort()

describe('what a killed writer left', () => {
  test.each(['stream', 'save'] as const)(
    'while it wrote by %s is removed, and stays while it lives',
    async (command) => {
      const root = scratch()
      const path = put(root, 'registry.json')
      const child = await startChild(command, path)
      const living = names(root)
      expect(living.length).toBe(command === 'save' ? 3 : 2)
      // However old it is said to be, its lock says that it lives.
      expect(await reapOrphans(path, { olderThanMs: 0 })).toEqual({
        removed: [],
        kept: [{ path: join(root, living.find((name) => name.endsWith('.tmp'))!), why: 'in-use' }],
      })
      expect(names(root)).toEqual(living)
      await child.kill()
      expect(names(root)).toEqual(living)
      // Dead, but young.
      expect((await reapOrphans(path)).kept).toEqual([expect.objectContaining({ why: 'young' })])
      expect(names(root)).toEqual(living)
      expect((await reapOrphans(path, { olderThanMs: 0 })).removed).toHaveLength(1)
      expect([names(root), readFileSync(path, 'utf8')]).toEqual([['registry.json'], 'registry.json'])
    },
  )

  test('does not keep a living one from finishing while others reap', async () => {
    const root = scratch()
    const path = join(root, 'file')
    const child = await startChild('save', path)
    await reapOrphans(path, { olderThanMs: 0 })
    await child.finish()
    expect([names(root), readFileSync(path, 'utf8')]).toEqual([['file'], 'whole'])
  })

  test('at any instant is the old content or a new one, whole, beside temps that can be reaped', async () => {
    const root = scratch()
    const path = put(root, 'file')
    for (const round of sample('instants', [...Array(8).keys()], 3)) {
      const child = await startChild('overwrite', path, 1_000_000)
      await new Promise((resolve) => setTimeout(resolve, 15 + round * 11))
      await child.kill()
      const content = readFileSync(path, 'utf8')
      const letter = content.charCodeAt(0) - 97
      expect(content === 'file' || content === content[0]!.repeat(20_000 + letter)).toBe(true)
      await reapOrphans(path, { olderThanMs: 0 })
      expect(names(root)).toEqual(['file'])
    }
  })

  test('is reaped by age where there are no locks', async () => {
    const root = scratch()
    const path = join(root, 'file')
    const [young, old] = [putTemp(root, 'file'), putTemp(scratch(), 'file', 2 * hour)]
    const reap = (at: string) => reapSiblings(withoutLocks, at, { olderThanMs: hour, nowMs: Date.now(), patterns: [] })
    expect(await reap(path)).toEqual({ removed: [], kept: [{ path: young, why: 'young' }] })
    expect((await reap(join(old, '..', 'file'))).removed).toEqual([old])
  })

  test('is reaped without its temp too: a work directory alone has no owner', async () => {
    const root = scratch()
    const work = `${putTemp(root, 'file')}.d`
    mkdirSync(work)
    writeFileSync(join(work, 'file'), 'x')
    await reapOrphans(join(root, 'file'), { olderThanMs: hour })
    // The temp is young, and with it its work directory.
    expect(names(root)).toHaveLength(2)
    await nodeFileSystem.unlink(work.slice(0, -2))
    expect((await reapOrphans(join(root, 'file'), { olderThanMs: hour })).removed).toEqual([work])
    expect(names(root)).toEqual([])
  })

  test('lies beside the file that a link leads to', async () => {
    const [root, behind] = [scratch(), scratch()]
    const target = put(behind, 'target')
    symlinkSync(target, join(root, 'link'))
    const [left, legacy] = [putTemp(behind, 'target', 2 * hour), put(root, 'link.tmp', 2 * hour)]
    const { removed } = await reapOrphans(join(root, 'link'), { patterns: ['{name}.tmp'] })
    expect(removed.sort()).toEqual([left, legacy].sort())
    expect([names(root), names(behind)]).toEqual([['link'], ['target']])
  })

  test('is reaped also when it was to become a file that may only be read', async () => {
    const root = scratch()
    const path = putTemp(root, 'file', 2 * hour)
    // What another user than root would be told.
    const fs: FileSystem = {
      ...nodeFileSystem,
      open: (at, how, mode) =>
        how === 'update' ? Promise.reject(systemError('EACCES', 'open')) : nodeFileSystem.open(at, how, mode),
    }
    const options = { olderThanMs: hour, nowMs: Date.now(), patterns: [] }
    expect((await reapSiblings(fs, join(root, 'file'), options)).removed).toEqual([path])
  })
})

describe('what is not a leftover of that file', () => {
  test('is never touched, whatever it is called', async () => {
    const root = scratch()
    const unrelated = [
      'file',
      'file.json',
      'file2',
      '.file.tmp',
      '.file.12-0-abc.tmp',
      '.file.12-0-abc-0123456789abcdef01234567.tmp.bak',
      'file.12-0-abc-0123456789abcdef01234567.tmp',
      '.afile.12-0-abc-0123456789abcdef01234567.tmp',
      '.file.json.12-0-abc-0123456789abcdef01234567.tmp',
      '.FILE.12-0-abc-0123456789abcdef01234567.tmp',
    ].map((name) => put(root, name, 10 * hour))
    mkdirSync(join(root, '.file.12-0-abc-0123456789abcdef01234567.tmp'))
    symlinkSync(unrelated[0]!, join(root, '.file.13-0-abc-0123456789abcdef01234567.tmp'))
    const before = names(root)
    expect(await reapOrphans(join(root, 'file'), { olderThanMs: 0 })).toEqual({ removed: [], kept: [] })
    expect(names(root)).toEqual(before)
  })

  test('is told by the exact name, for names of any characters', async () => {
    const name = fc.string({ unit: fc.constantFrom(...'ab.*?[]{}()+^$|\\-!é𝄞 '), minLength: 1, maxLength: 12 })
    const pair = fc.tuple(name, name).filter(([a, b]) => a !== b)
    const legacies: [string, (of: string) => string][] = [
      ['{name}.tmp', (of) => `${of}.tmp`],
      ['.{name}.{digits}', (of) => `.${of}.7`],
      ['{name}~{hex}*x', (of) => `${of}~fx`],
    ]
    fc.assert(
      fc.property(pair, ([a, b]) => {
        const { prefix, suffix } = siblingAffixes(a)
        const temp = `${prefix}${'ab'.repeat(12)}${suffix}`
        expect([isSiblingTemp(temp, a), isSiblingTemp(`${temp}.d`, a)]).toEqual([true, true])
        expect([isSiblingTemp(temp, b), isTempName(temp), isTempName(a)]).toEqual([false, true, false])
        for (const [pattern, legacy] of legacies) {
          expect(orphanPattern(pattern)(a).test(legacy(a))).toBe(true)
          expect(orphanPattern(pattern)(a).test(legacy(b))).toBe(false)
        }
      }),
    )
  })

  test('with long names is told apart by all of the name', () => {
    // Cut in the middle of a character, if it were cut by bytes.
    const [a, b] = [`x${'𝄞'.repeat(60)}`, `x${'𝄞'.repeat(59)}xyz`]
    const { prefix, suffix } = siblingAffixes(a)
    const temp = `${prefix}${'ab'.repeat(12)}${suffix}`
    expect(Buffer.byteLength(`${temp}.d`)).toBeLessThanOrEqual(255)
    expect(temp).not.toContain('\ufffd')
    expect([isSiblingTemp(temp, a), isSiblingTemp(temp, b)]).toEqual([true, false])
  })

  test('and is in quarantine is evidence, not a leftover', async () => {
    const root = scratch()
    const aside = put(root, 'file.bad.2024-05-06T070809.010Z.0123456789abcdef', 10 * hour)
    expect((await reapOrphans(join(root, 'file'), { olderThanMs: 0, patterns: ['{name}.*'] })).removed).toEqual([])
    expect(existsSync(aside)).toBe(true)
  })
})

describe('patterns of other writers', () => {
  test('say where the name stands; glob characters in the name are only characters', async () => {
    const root = scratch()
    const old = ['[v2]*.json.tmp', '[v2]*.json.123', '.[v2]*.json.beefTMP']
    const others = ['v.json.tmp', '2x.json.tmp', '[v2]abc.json.tmp', '[v2]*.json.12a', '[v2]*.json', 'x[v2]*.json.tmp']
    for (const name of [...old, ...others]) put(root, name, 2 * hour)
    put(root, '[v2]*.json.7', hour / 2)
    const { removed, kept } = await reapOrphans(join(root, '[v2]*.json'), {
      patterns: ['{name}.tmp', '{name}.{digits}', '.{name}.{hex}TMP'],
    })
    expect(removed.sort()).toEqual(old.map((name) => join(root, name)).sort())
    expect(kept).toEqual([{ path: join(root, '[v2]*.json.7'), why: 'young' }])
    expect(names(root)).toEqual([...others, '[v2]*.json.7'].sort())
  })

  test('that match other files too are refused', async () => {
    const path = put(scratch(), 'file')
    for (const pattern of ['*.tmp', '', '{name}', '{name}*', '*{name}', '{name}{digits}', 7 as unknown as string]) {
      expect(await failure(reapOrphans(path, { patterns: [pattern] })), String(pattern)).toBeInstanceOf(TypeError)
    }
    expect(await failure(reapOrphans(path, { patterns: 'x{name}' as unknown as string[] }))).toBeInstanceOf(TypeError)
    for (const olderThanMs of [-1, Number.NaN, '5' as unknown as number]) {
      expect(await failure(reapOrphans(path, { olderThanMs }))).toBeInstanceOf(TypeError)
    }
  })

  test('never reach the file itself, directories, links, or temps of ours for another file', async () => {
    const root = scratch()
    const path = put(root, 'a.tmp', 2 * hour)
    const other = putTemp(root, 'a.tmp.x', 2 * hour)
    mkdirSync(join(root, 'a.tmp.dir'))
    symlinkSync(path, join(root, 'a.tmp.link'))
    const before = names(root)
    const patterns = ['{name}.*', '.{name}.*', '*.tmp*{name}*']
    expect((await reapOrphans(path, { olderThanMs: 0, patterns })).removed).toEqual([])
    expect(names(root)).toEqual(before)
    expect(existsSync(other)).toBe(true)
  })

  test('cannot reach the file itself, even if they match everything', async () => {
    const root = scratch()
    const path = put(root, 'file', 2 * hour)
    put(root, 'other', 2 * hour)
    await reapSiblings(nodeFileSystem, path, { olderThanMs: 0, nowMs: Date.now(), patterns: [() => /./] })
    expect(names(root)).toEqual(['file'])
  })

  test('spare what has a time in the future: the clock was set back', async () => {
    const root = scratch()
    put(root, 'file.tmp', -hour)
    const { kept } = await reapOrphans(join(root, 'file'), { olderThanMs: 0, patterns: ['{name}.tmp'] })
    expect(kept).toEqual([{ path: join(root, 'file.tmp'), why: 'young' }])
  })
})

describe('reaping', () => {
  test('a directory that is not there finds nothing; one that cannot be read is an error', async () => {
    const root = scratch()
    expect(await reapOrphans(join(root, 'no', 'file'))).toEqual({ removed: [], kept: [] })
    const fs: FileSystem = { ...nodeFileSystem, readdir: () => Promise.reject(systemError('EIO', 'scandir')) }
    await rejects(reapSiblings(fs, join(root, 'file'), { olderThanMs: 0, nowMs: 0, patterns: [] }), 'IO_FAILED')
  })

  test('goes on when one cannot be removed, and says which', async () => {
    const root = scratch()
    const [a, b] = [put(root, 'file.1', 2 * hour), put(root, 'file.2', 2 * hour)]
    const fs: FileSystem = {
      ...nodeFileSystem,
      unlink: (path) => (path === a ? Promise.reject(systemError('EPERM', 'unlink')) : nodeFileSystem.unlink(path)),
    }
    const options = { olderThanMs: 0, nowMs: Date.now(), patterns: [orphanPattern('{name}.{digits}')] }
    const { removed, kept } = await reapSiblings(fs, join(root, 'file'), options)
    expect(removed).toEqual([b])
    expect(kept).toEqual([{ path: a, why: 'failed', error: expect.objectContaining({ code: 'IO_FAILED' }) }])
  })

  test('while writers write never takes a temp from them', async () => {
    const root = scratch()
    const path = join(root, 'file')
    let writing = true
    const reaper = (async () => {
      while (writing) await reapOrphans(path, { olderThanMs: 0 })
    })()
    for (let round = 0; round < 60; round += 1) {
      await Promise.all([
        writeFileDurable(path, 'a'.repeat(100)),
        writeFileDurable(path, (temp) => writeFileSync(temp, 'b'.repeat(100))),
      ])
    }
    writing = false
    await reaper
    expect(names(root)).toEqual(['file'])
  })
})

const withoutLocks: FileSystem = {
  ...nodeFileSystem,
  async open(path, how, mode) {
    const file = await nodeFileSystem.open(path, how, mode)
    return {
      ...file,
      tryLock() {
        throw new HoldfastError('LOCK_UNAVAILABLE', 'no locks here')
      },
    }
  },
}
