import { execFileSync } from 'node:child_process'
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type WriteFileDurableOptions, writeFileDurable } from '../../src/durable.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import { type DurableData, type SaveToTemp, writeFile } from '../../src/fs/write-file.ts'
import { noise } from '../support/bytes.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'
import { observe, systemError } from '../support/watched-disk.ts'

/** A directory with a file in it that holds `old`. */
function place(name = 'registry.json') {
  const root = scratch()
  const path = join(root, name)
  writeFileSync(path, 'old', { mode: 0o640 })
  return { root, path }
}

/** As `writeFileDurable`, on another disk. */
function on(
  fs: FileSystem,
  path: string,
  data: DurableData | SaveToTemp,
  options: Partial<Parameters<typeof writeFile>[3]> = {},
) {
  return writeFile(fs, path, data, {
    mode: 0o600,
    keepMode: true,
    symlinks: 'follow',
    encoding: 'utf8',
    extraFiles: 'refuse',
    makeDirectories: false,
    signal: new AbortController().signal,
    ...options,
  })
}

const bitsOf = (path: string) => statSync(path).mode & 0o7777

describe('a durable write of content', () => {
  test('opens the directory, fsyncs a locked temp beside the file, renames it over the file, and fsyncs the directory', async () => {
    const { root, path } = place()
    const { fs, log } = observe(root)
    expect(await on(fs, path, 'new')).toEqual({ path, bytes: 3 })
    const temp = `/.registry.json.${process.pid}-*-#.tmp`
    expect(log.map((line) => line.replaceAll(/-\d+-[0-9a-z]+-#/g, '-*-#'))).toEqual([
      `open create ${temp}`,
      `write ${temp}`,
      'openDirectory ',
      `sync ${temp}`,
      `rename ${temp} /registry.json`,
      'syncDirectory ',
      `close ${temp}`,
    ])
    expect(readFileSync(path, 'utf8')).toBe('new')
    expect(readdirSync(root)).toEqual(['registry.json'])
  })

  const sources: [string, () => DurableData, string][] = [
    ['a string', () => 'é𝄞x', 'é𝄞x'],
    ['nothing', () => '', ''],
    ['bytes', () => Buffer.from('xx-bytes-xx').subarray(3, 8), 'bytes'],
    ['a view of numbers', () => new Uint16Array([0x6261, 0x6463]), 'abcd'],
    ['an ArrayBuffer', () => new Uint8Array([65, 66]).buffer, 'AB'],
    ['a Blob', () => new Blob(['bl', 'ob']), 'blob'],
    ['an array of parts', () => ['a', Buffer.from('b'), '', 'c'], 'abc'],
    [
      'a generator',
      () =>
        (async function* () {
          yield 'one '
          yield Buffer.from('two')
        })(),
      'one two',
    ],
    ['a Node stream', () => Readable.from([Buffer.from('no'), 'de']), 'node'],
    ['a web stream', () => new Blob(['web']).stream(), 'web'],
  ]
  test.each(sources)('takes %s', async (_name, data, text) => {
    const { path } = place()
    expect(await writeFileDurable(path, data())).toEqual({ path, bytes: Buffer.byteLength(text) })
    expect(readFileSync(path, 'utf8')).toBe(text)
  })

  test('keeps the order and bytes of parts of any size, though their memory is used again', async () => {
    const { path } = place()
    const sizes = fc.array(fc.oneof(fc.nat(300), fc.nat(200_000), fc.constantFrom(60_000, 600_000)), { maxLength: 12 })
    await fc.assert(
      fc.asyncProperty(sizes, async (lengths) => {
        const whole = noise(
          lengths.reduce((sum, length) => sum + length, 0),
          7,
        )
        async function* parts(): AsyncGenerator<Uint8Array> {
          const memory = new Uint8Array(600_000)
          let at = 0
          for (const length of lengths) {
            memory.set(whole.subarray(at, at + length))
            at += length
            yield memory.subarray(0, length)
            memory.fill(0)
          }
        }
        expect(await writeFileDurable(path, parts())).toEqual({ path, bytes: whole.length })
        expect(Buffer.compare(readFileSync(path), whole)).toBe(0)
      }),
      // Small ones that are more together than are gathered, then a large one.
      { numRuns: 25, examples: [[[...Array<number>(11).fill(60_000), 600_000, 1]]] },
    )
  })

  test('takes texts longer than its parts, without cutting a character', async () => {
    const { path } = place()
    const text = `x${'𝄞'.repeat(300_000)}`
    await writeFileDurable(path, text)
    expect(readFileSync(path, 'utf8') === text).toBe(true)
    await writeFileDurable(path, text, { encoding: 'utf16le' })
    expect(readFileSync(path, 'utf16le') === text).toBe(true)
  })

  test('refuses text that the encoding cannot hold, rather than write something else', async () => {
    const { path } = place()
    const lone: [string | string[], 'utf8' | 'latin1'][] = [
      ['a\ud800', 'utf8'],
      [['\ud834', '\udd1e'], 'utf8'],
      ['ā', 'latin1'],
    ]
    for (const [text, encoding] of lone) {
      expect(await failure(writeFileDurable(path, text, { encoding }))).toBeInstanceOf(TypeError)
    }
    await writeFileDurable(path, 'ÿ', { encoding: 'latin1' })
    expect([...readFileSync(path)]).toEqual([0xff])
  })

  test('refuses what is not content, before anything is touched', async () => {
    const { root, path } = place()
    const wrong: unknown[] = [{ a: 1 }, 7, null, undefined, true]
    for (const data of wrong) {
      const error = await failure(writeFileDurable(path, data as string))
      expect([error instanceof TypeError, String(error)]).toEqual([true, expect.stringContaining('give a string')])
    }
    expect(await failure(writeFileDurable(path, [1, 2] as unknown as string))).toBeInstanceOf(TypeError)
    const options: unknown[] = [
      { mode: 0o10000 },
      { mode: '600' },
      { symlinks: 'yes' },
      { encoding: 'hex' },
      { extraFiles: 'keep' },
    ]
    for (const each of options) {
      expect(await failure(writeFileDurable(path, 'x', each as WriteFileDurableOptions))).toBeInstanceOf(TypeError)
    }
    expect(await failure(writeFileDurable('', 'x'))).toBeInstanceOf(TypeError)
    expect(await failure(writeFileDurable(new URL('https://example.com/x'), 'x'))).toBeInstanceOf(TypeError)
    expect([readdirSync(root), readFileSync(path, 'utf8')]).toEqual([[basename(path)], 'old'])
  })

  test('refuses a stream or iterator that was read before, and leaves the file full', async () => {
    const path = join(scratch(), 'f')
    const read = Readable.from(['gone'])
    for await (const _ of read) break
    const given: DurableData[] = [Readable.from(['full']), new Blob(['full']).stream(), ['full'].values()]
    for (const data of given) {
      await writeFileDurable(path, data)
      for (const again of [data, read]) {
        await rejects(writeFileDurable(path, again), 'SOURCE_FAILED')
        expect(readFileSync(path, 'utf8')).toBe('full')
      }
    }
    await expect(writeFileDurable(path, Promise.resolve('x') as unknown as string)).rejects.toThrow('await it')
  })

  test('takes file: URLs and names of any characters and length', async () => {
    const root = scratch()
    for (const name of ['[v2]*?{a,b}.json', ' ', '-', 'é'.repeat(127), 'x'.repeat(255), '\n']) {
      await writeFileDurable(pathToFileURL(join(root, name)), name)
      expect(readFileSync(join(root, name), 'utf8')).toBe(name)
    }
    expect(readdirSync(root)).toHaveLength(6)
  })

  test('that others do at the same time leaves one of the contents, whole', async () => {
    const { root, path } = place()
    const contents = Array.from({ length: 12 }, (_, index) => String.fromCharCode(97 + index).repeat(50_000 + index))
    await Promise.all(contents.map((content) => writeFileDurable(path, content)))
    expect(contents).toContain(readFileSync(path, 'utf8'))
    expect(readdirSync(root)).toEqual([basename(path)])
  })
})

describe('a durable write that fails', () => {
  test.each(['open create', 'write', 'sync /', 'rename'])(
    'at "%s" leaves the old content and no temp, and the first error survives',
    async (step) => {
      const { root, path } = place()
      let failed = false
      const { fs } = observe(root, (line) => {
        // Cleaning up meets errors of its own.
        if (failed && !line.startsWith('unlink')) throw systemError('EBADF')
        if (!line.startsWith(step)) return
        failed = true
        throw systemError('ENOSPC', step)
      })
      const error = await rejects(on(fs, path, 'new'), 'NO_SPACE')
      expect(error.details.syscall).toBe(step)
      expect([readdirSync(root), readFileSync(path, 'utf8')]).toEqual([[basename(path)], 'old'])
    },
  )

  test('at the fsync of the directory says that the outcome is unknown', async () => {
    const { root, path } = place()
    const { fs } = observe(root, (line) => {
      if (line.startsWith('syncDirectory')) throw systemError('EIO')
    })
    for (const data of ['new', (temp: string) => writeFileSync(temp, 'new')]) {
      const error = await rejects(on(fs, path, data), 'COMMIT_UNKNOWN')
      expect([error.details, (error.cause as { code: string }).code]).toEqual([{ path }, 'EIO'])
      expect([readdirSync(root), readFileSync(path, 'utf8')]).toEqual([[basename(path)], 'new'])
    }
  })

  test('because its stream fails passes that error on as it is, even one that looks like a disk error', async () => {
    const { root, path } = place()
    for (const reason of [new Error('mine'), systemError('ENOSPC'), 'a string', undefined]) {
      const stream = (async function* () {
        yield 'some'
        throw reason
      })()
      expect(await failure(writeFileDurable(path, stream))).toBe(reason)
    }
    expect([readdirSync(root), readFileSync(path, 'utf8')]).toEqual([[basename(path)], 'old'])
  })

  test('because of the disk tells its stream to stop', async () => {
    const { root, path } = place()
    let stopped = false
    const { fs } = observe(root, (line) => {
      if (line.startsWith('write')) throw systemError('EIO')
    })
    async function* endless(): AsyncGenerator<Uint8Array> {
      try {
        for (;;) yield new Uint8Array(1_000_000)
      } finally {
        stopped = true
      }
    }
    await rejects(on(fs, path, endless()), 'IO_FAILED')
    expect(stopped).toBe(true)
  })

  test.each([false, true])(
    'because it is aborted (before: %s) passes the reason on and replaces nothing',
    async (before) => {
      const { root, path } = place()
      const controller = new AbortController()
      const { signal } = controller
      if (before) controller.abort('enough')
      const waits = (async function* () {
        yield 'some'
        controller.abort('enough')
        await new Promise(() => undefined)
      })()
      expect(await failure(writeFileDurable(path, waits, { signal }))).toBe('enough')
      const saves = new AbortController()
      if (before) saves.abort('enough')
      const save: SaveToTemp = (temp, context) => {
        writeFileSync(temp, 'new')
        saves.abort('enough')
        expect(context.signal.aborted).toBe(true)
        // That it failed too is no news.
        return false
      }
      expect(await failure(writeFileDurable(path, save, { signal: saves.signal }))).toBe('enough')
      expect([readdirSync(root), readFileSync(path, 'utf8')]).toEqual([[basename(path)], 'old'])
    },
  )

  test('because it was aborted before makes no directory either', async () => {
    const root = scratch()
    const options = { signal: AbortSignal.abort('enough'), makeDirectories: true }
    expect(await failure(writeFileDurable(join(root, 'a', 'file'), 'x', options))).toBe('enough')
    expect(readdirSync(root)).toEqual([])
  })

  test.each(['open update', 'write '])('because it is aborted at "%s" replaces nothing', async (step) => {
    const { root, path } = place()
    const controller = new AbortController()
    const { fs } = observe(root, (line) => {
      if (line.startsWith(step)) controller.abort('enough')
    })
    const data = step === 'write ' ? new Uint8Array(500_000) : (temp: string) => writeFileSync(temp, 'new')
    expect(await failure(on(fs, path, data, { signal: controller.signal }))).toBe('enough')
    expect([readdirSync(root), readFileSync(path, 'utf8')]).toEqual([[basename(path)], 'old'])
  })

  test('because there is no directory says so, and makes it if asked, each durable in the one above', async () => {
    const { root } = place()
    const path = join(root, 'a', 'b', 'file')
    const error = await rejects(writeFileDurable(path, 'x'), 'IO_FAILED')
    expect(error.details.code).toBe('ENOENT')
    expect(existsSync(join(root, 'a'))).toBe(false)
    const { fs, log } = observe(root)
    await on(fs, path, 'x', { makeDirectories: true })
    expect(log.slice(0, 6)).toEqual([
      'openDirectory ',
      'mkdir /a',
      'syncDirectory ',
      'openDirectory /a',
      'mkdir /a/b',
      'syncDirectory /a',
    ])
    expect([readFileSync(path, 'utf8'), bitsOf(dirname(path))]).toEqual(['x', 0o700])
  })
})

describe('the mode', () => {
  test('of a new file is 0600 or the one given, whatever the umask', async () => {
    const root = scratch()
    const umask = process.umask(0o077)
    try {
      await writeFileDurable(join(root, 'a'), 'x')
      await writeFileDurable(join(root, 'b'), 'x', { mode: 0o666 })
      await writeFileDurable(join(root, 'c'), (temp) => writeFileSync(temp, 'x', { mode: 0o444 }), { mode: 0o664 })
    } finally {
      process.umask(umask)
    }
    expect(['a', 'b', 'c'].map((name) => bitsOf(join(root, name)))).toEqual([0o600, 0o666, 0o664])
  })

  test.each([0o644, 0o600, 0o440, 0o777])('of a file that is replaced is kept: %o', async (mode) => {
    const { path } = place()
    chmodSync(path, mode)
    await writeFileDurable(path, 'new', { mode: 0o611 })
    expect(bitsOf(path)).toBe(mode)
    await writeFileDurable(path, (temp) => writeFileSync(temp, 'newer', { mode: 0o604 }))
    expect(bitsOf(path)).toBe(mode)
    await writeFileDurable(path, 'new', { mode: 0o611, keepMode: false })
    expect(bitsOf(path)).toBe(0o611)
  })

  test('loses the set-user-ID bit, as a write does', async () => {
    const { path } = place()
    chmodSync(path, 0o4755)
    await writeFileDurable(path, 'new')
    expect(bitsOf(path)).toBe(0o755)
  })
})

describe('what stands at the path', () => {
  test('a link is followed: the file behind it is replaced, beside which the temp is', async () => {
    const { root, path } = place()
    mkdirSync(join(root, 'links'))
    const link = join(root, 'links', 'link')
    symlinkSync('../middle', link)
    symlinkSync(path, join(root, 'middle'))
    const { fs, log } = observe(root)
    expect(await on(fs, link, 'new')).toEqual({ path, bytes: 3 })
    expect(log[0]).toContain('open create /.registry.json.')
    expect([readFileSync(path, 'utf8'), readFileSync(link, 'utf8'), bitsOf(path)]).toEqual(['new', 'new', 0o640])
  })

  test('a link is refused if asked, and so are links that lead nowhere or in a circle', async () => {
    const { root, path } = place()
    for (const [name, to] of [
      ['link', path],
      ['nowhere', join(root, 'missing')],
      ['self', 'self'],
    ] as const) {
      symlinkSync(to, join(root, name))
    }
    const refused = await rejects(writeFileDurable(join(root, 'link'), 'x', { symlinks: 'refuse' }), 'IO_FAILED')
    expect(refused.details).toEqual({ code: 'ELOOP', path: join(root, 'link') })
    expect((await rejects(writeFileDurable(join(root, 'nowhere'), 'x'), 'IO_FAILED')).details.code).toBe('ENOENT')
    expect((await rejects(writeFileDurable(join(root, 'self'), 'x'), 'IO_FAILED')).details.code).toBe('ELOOP')
    expect(readFileSync(path, 'utf8')).toBe('old')
    expect(readdirSync(root).sort()).toEqual(['link', 'nowhere', 'registry.json', 'self'])
    await writeFileDurable(path, 'new', { symlinks: 'refuse' })
  })

  test('a directory, or a pipe as one of what is no file, is not replaced', async () => {
    const { root } = place()
    const pipe = join(root, 'pipe')
    execFileSync('mkfifo', [pipe])
    symlinkSync(pipe, join(root, 'link'))
    const before = readdirSync(root)
    expect((await rejects(writeFileDurable(root, 'x'), 'IO_FAILED')).details.code).toBe('EISDIR')
    for (const path of [pipe, join(root, 'link')]) {
      const error = await rejects(writeFileDurable(path, 'x'), 'IO_FAILED')
      const what = path === pipe ? 'is a pipe' : 'is a symbolic link to something other than a file'
      expect([error.details, error.message]).toEqual([{ code: 'EINVAL', path }, expect.stringContaining(what)])
    }
    expect([statSync(pipe).isFIFO(), readdirSync(root)]).toEqual([true, before])
  })

  test('whoever has the old file open, or under another name, keeps the old content', async () => {
    const { root, path } = place()
    linkSync(path, join(root, 'other'))
    const descriptor = openSync(path, 'r')
    await writeFileDurable(path, 'new')
    const bytes = Buffer.alloc(8)
    expect(bytes.toString('utf8', 0, readSync(descriptor, bytes, 0, 8, 0))).toBe('old')
    closeSync(descriptor)
    expect(readFileSync(join(root, 'other'), 'utf8')).toBe('old')
  })
})

describe('an engine that saves into a path', () => {
  test("gets one that ends in the file's name, with nothing there, and what it wrote is fsynced before the rename", async () => {
    const { root, path } = place('index.hnsw')
    const { fs, log } = observe(root)
    const save: SaveToTemp = async (temp) => {
      expect([basename(temp), existsSync(temp), statSync(dirname(temp)).mode & 0o777]).toEqual([
        'index.hnsw',
        false,
        0o700,
      ])
      expect(dirname(dirname(temp))).toBe(root)
      expect(readdirSync(dirname(temp))).toEqual([])
      writeFileSync(temp, 'engine')
      return true
    }
    expect(await on(fs, path, save)).toEqual({ path, bytes: 6 })
    const steps = log.map((line) => line.replaceAll(/\.index\.hnsw\.\d+-\d+-[0-9a-z]+-#\.tmp/g, '*'))
    const order = [
      'open update /*.d/index.hnsw',
      'sync /*.d/index.hnsw',
      'rename /*.d/index.hnsw /index.hnsw',
      'syncDirectory ',
    ]
    expect(steps.filter((step) => order.includes(step))).toEqual(order)
    expect([readdirSync(root), readFileSync(path, 'utf8'), bitsOf(path)]).toEqual([['index.hnsw'], 'engine', 0o640])
  })

  test('may rename a temp of its own over the path', async () => {
    const { root, path } = place()
    const { fs, log } = observe(root)
    await on(fs, path, async (temp) => {
      writeFileSync(temp, 'first try')
      writeFileSync(`${temp}.new`, 'second')
      renameSync(`${temp}.new`, temp)
    })
    expect([readFileSync(path, 'utf8'), readdirSync(root)]).toEqual(['second', [basename(path)]])
    // Opened after the engine was done: what was fsynced is what was renamed.
    expect(log.filter((line) => /sync .*registry.json$/.test(line))).toHaveLength(1)
  })

  test('that also writes other files is refused by name, unless they are said to be litter', async () => {
    const { root, path } = place()
    const save: SaveToTemp = (temp) => {
      writeFileSync(temp, 'main')
      writeFileSync(`${temp}.ids`, 'sidecar')
      mkdirSync(join(dirname(temp), 'more'))
    }
    const error = await rejects(writeFileDurable(path, save), 'SOURCE_FAILED')
    expect(error.details).toEqual({ path, extra: expect.arrayContaining(['registry.json.ids', 'more']) })
    expect(error.message).toContain('registry.json.ids')
    expect([readFileSync(path, 'utf8'), readdirSync(root)]).toEqual(['old', [basename(path)]])
    await writeFileDurable(path, save, { extraFiles: 'remove' })
    expect([readFileSync(path, 'utf8'), readdirSync(root)]).toEqual(['main', [basename(path)]])
  })

  test.each<[string, SaveToTemp]>([
    ['answers false', (temp) => Promise.resolve(writeFileSync(temp, 'x') !== undefined)],
    ['writes nothing', () => undefined],
    ['writes elsewhere', (temp) => writeFileSync(`${temp}.bin`, 'x')],
    ['makes a directory', (temp) => mkdirSync(temp)],
    ['makes a link', (temp) => symlinkSync(join(dirname(dirname(temp)), 'registry.json'), temp)],
  ])('that %s has failed', async (_what, save) => {
    const { root, path } = place()
    await rejects(writeFileDurable(path, save), 'SOURCE_FAILED')
    await rejects(writeFileDurable(join(root, 'none'), save, { extraFiles: 'remove' }), 'SOURCE_FAILED')
    expect([readFileSync(path, 'utf8'), readdirSync(root)]).toEqual(['old', [basename(path)]])
  })

  test('that throws has its own error passed on, even one that looks like a disk error', async () => {
    const { root, path } = place()
    for (const reason of [new Error('mine'), systemError('ENOSPC'), 'text']) {
      const save: SaveToTemp = (temp) => {
        writeFileSync(temp, 'half')
        throw reason
      }
      expect(await failure(writeFileDurable(path, save))).toBe(reason)
      expect(await failure(writeFileDurable(path, async (temp) => save(temp, undefined as never)))).toBe(reason)
    }
    expect([readFileSync(path, 'utf8'), readdirSync(root)]).toEqual(['old', [basename(path)]])
  })

  test.each(['open update', 'sync /', 'rename'])('is undone when the disk fails at "%s"', async (step) => {
    const { root, path } = place()
    const { fs } = observe(root, (line) => {
      if (line.startsWith(step)) throw systemError('EIO', step)
    })
    const error = await rejects(
      on(fs, path, (temp) => writeFileSync(temp, 'new')),
      'IO_FAILED',
    )
    expect(error.details.syscall).toBe(step)
    expect([readFileSync(path, 'utf8'), readdirSync(root)]).toEqual(['old', [basename(path)]])
  })
})
