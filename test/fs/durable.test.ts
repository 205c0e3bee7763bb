import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { basename, join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { DirectorySyncFailed, publish, writeDurable } from '../../src/fs/durable.ts'
import { makeDirectory } from '../../src/fs/make-directory.ts'
import { moveAside } from '../../src/fs/move-aside.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { createTemp } from '../../src/fs/temps.ts'
import { scratch } from '../support/scratch.ts'
import { observe, systemError } from '../support/watched-disk.ts'

const bytes = Buffer.from('new')

function store() {
  const root = scratch()
  mkdirSync(join(root, 'tmp'))
  const target = join(root, 'HEAD.json')
  return { root, target, to: { tempDirectory: join(root, 'tmp'), target, bytes, mode: 0o600, lock: true } }
}

describe('a durable write', () => {
  test('opens the directory, fsyncs the file, then renames it, then fsyncs the directory', async () => {
    const { root, to, target } = store()
    const { fs, log } = observe(root)
    await writeDurable(fs, to)
    expect(log).toEqual([
      'open create /tmp/#',
      'write /tmp/#',
      'openDirectory ',
      'sync /tmp/#',
      'rename /tmp/# /HEAD.json',
      'syncDirectory ',
      'close /tmp/#',
    ])
    expect(readFileSync(target, 'utf8')).toBe('new')
    expect(statSync(target).mode & 0o777).toBe(0o600)
  })

  test('is whole where the disk takes a byte at a time', async () => {
    const { to, target } = store()
    const short: typeof nodeFileSystem = {
      ...nodeFileSystem,
      async open(path, how, mode) {
        const file = await nodeFileSystem.open(path, how, mode)
        return { ...file, write: ([first], position) => file.write([first!.subarray(0, 1)], position) }
      },
    }
    await writeDurable(short, to)
    expect(readFileSync(target, 'utf8')).toBe('new')
  })

  test('leaves the directory to the caller if asked', async () => {
    const { root, target } = store()
    const { fs, log } = observe(root)
    const temp = await createTemp(fs, join(root, 'tmp'), { mode: 0o600, lock: true })
    await publish(fs, temp, target, { directory: null })
    await temp.file.close()
    expect(log.slice(1)).toEqual(['sync /tmp/#', 'rename /tmp/# /HEAD.json', 'close /tmp/#'])
  })

  test.each(['open create', 'write', 'openDirectory', 'sync /', 'rename'])(
    'that fails at "%s" leaves the target as it was and no temp, and the first error survives',
    async (step) => {
      const { root, to, target } = store()
      writeFileSync(target, 'old')
      let failed = false
      const { fs } = observe(root, (line) => {
        // Whatever cleaning up asks for afterwards fails too, but the unlink.
        if (failed && !line.startsWith('unlink')) throw systemError('EBADF')
        if (!line.startsWith(step)) return
        failed = true
        throw systemError('ENOSPC', step)
      })
      await expect(writeDurable(fs, to)).rejects.toMatchObject({ code: 'NO_SPACE', details: { syscall: step } })
      expect(readFileSync(target, 'utf8')).toBe('old')
      expect(readdirSync(join(root, 'tmp'))).toEqual([])
    },
  )

  test('whose directory fsync fails says so, since the outcome is unknown', async () => {
    const { root, to, target } = store()
    const { fs } = observe(root, (line) => {
      if (line.startsWith('syncDirectory')) throw systemError('EIO')
    })
    const error = await writeDurable(fs, to).catch((thrown: unknown) => thrown)
    expect(error).toBeInstanceOf(DirectorySyncFailed)
    expect(error).toMatchObject({ cause: { code: 'EIO' }, directory: root })
    expect(readFileSync(target, 'utf8')).toBe('new')
  })

  test('by a function that throws passes its error on', async () => {
    const { root, to } = store()
    const reason = new Error('mine')
    const write = () => Promise.reject(reason)
    await expect(writeDurable(nodeFileSystem, { ...to, bytes: undefined, write })).rejects.toBe(reason)
    expect(readdirSync(join(root, 'tmp'))).toEqual([])
  })

  test('keeps the mode of a regular file it replaces, if asked, and not that of a link', async () => {
    const { root, to, target } = store()
    writeFileSync(target, 'old')
    chmodSync(target, 0o644)
    await writeDurable(nodeFileSystem, { ...to, keepMode: true })
    expect(statSync(target).mode & 0o777).toBe(0o644)
    await writeDurable(nodeFileSystem, to)
    expect(statSync(target).mode & 0o777).toBe(0o600)
    const link = join(root, 'link')
    symlinkSync(target, link)
    await writeDurable(nodeFileSystem, { ...to, target: link, mode: 0o640, keepMode: true })
    expect(statSync(link).mode & 0o777).toBe(0o640)
  })

  test('published by hand leaves the descriptor open and usable', async () => {
    const { root, target } = store()
    const temp = await createTemp(nodeFileSystem, join(root, 'tmp'), { mode: 0o600, lock: true })
    await temp.file.write([bytes], 0)
    await publish(nodeFileSystem, temp, target)
    await temp.discard()
    expect((await temp.file.stat()).size).toBe(3)
    expect(existsSync(target)).toBe(true)
    await temp.file.close()
  })
})

describe('making a directory', () => {
  test('makes each new name durable in its parent before the next one is made', async () => {
    const root = scratch()
    const { fs, log } = observe(root)
    expect(await makeDirectory(fs, join(root, 'a', 'b'), 0o700)).toBe(true)
    expect(log).toEqual([
      'openDirectory ',
      'mkdir /a',
      'syncDirectory ',
      'openDirectory /a',
      'mkdir /a/b',
      'syncDirectory /a',
    ])
    expect(await makeDirectory(fs, join(root, 'a', 'b'), 0o700)).toBe(false)
    expect(log).toHaveLength(6)
  })

  test('whose parent cannot be opened makes nothing', async () => {
    const root = scratch()
    const { fs } = observe(root, (line) => {
      if (line === 'openDirectory /a') throw systemError('EMFILE')
    })
    await expect(makeDirectory(fs, join(root, 'a', 'b'), 0o700)).rejects.toMatchObject({ code: 'IO_FAILED' })
    expect(readdirSync(join(root, 'a'))).toEqual([])
  })

  test('gives the mode asked for whatever the umask', async () => {
    const path = join(scratch(), 'a')
    const umask = process.umask(0o077)
    await makeDirectory(nodeFileSystem, path, 0o755)
    process.umask(umask)
    expect(statSync(path).mode & 0o777).toBe(0o755)
  })

  test('fsyncs the parent even if another process was faster, and says that it did not make it', async () => {
    const root = scratch()
    const { fs, log } = observe(root, (line) => {
      if (line.startsWith('mkdir')) mkdirSync(join(root, 'a'))
    })
    expect(await makeDirectory(fs, join(root, 'a'), 0o700)).toBe(false)
    expect(log).toEqual(['openDirectory ', 'mkdir /a', 'syncDirectory '])
  })

  test('refuses a file, a dangling link, and a path below a file', async () => {
    const root = scratch()
    writeFileSync(join(root, 'file'), '')
    symlinkSync(join(root, 'nowhere'), join(root, 'link'))
    for (const path of ['file', 'link', 'file/below']) {
      await expect(makeDirectory(nodeFileSystem, join(root, path), 0o700)).rejects.toMatchObject({
        code: 'IO_FAILED',
        message: expect.stringContaining('should be a directory'),
      })
    }
  })

  test('accepts a link to a directory', async () => {
    const root = scratch()
    symlinkSync(root, join(root, 'link'))
    expect(await makeDirectory(nodeFileSystem, join(root, 'link'), 0o700)).toBe(false)
  })
})

describe('quarantine', () => {
  const now = new Date('2024-05-06T07:08:09.010Z')

  function damaged(root: string, name = 'x.pack') {
    const from = join(root, name)
    writeFileSync(from, 'bad')
    return { from, quarantineDirectory: join(root, 'quarantine'), reason: 'bad magic/../', now, details: { at: 5n } }
  }

  test('names the file, the reason and the time, and says why beside it', async () => {
    const root = scratch()
    const path = await moveAside(nodeFileSystem, damaged(root))
    expect(basename(path)).toMatch(/^x\.pack\.bad-magic-\.2024-05-06T070809\.010Z\.[0-9a-f]{16}$/)
    expect(readFileSync(path, 'utf8')).toBe('bad')
    expect(JSON.parse(readFileSync(`${path}.json`, 'utf8'))).toEqual({
      original: join(root, 'x.pack'),
      reason: 'bad magic/../',
      time: '2024-05-06T07:08:09.010Z',
      details: { at: '5' },
    })
    expect(existsSync(join(root, 'x.pack'))).toBe(false)
  })

  test('keeps every one of the same name, reason and time', async () => {
    const root = scratch()
    const paths = []
    for (let index = 0; index < 20; index += 1) paths.push(await moveAside(nodeFileSystem, damaged(root)))
    expect(new Set(paths).size).toBe(20)
    expect(readdirSync(join(root, 'quarantine'))).toHaveLength(40)
  })

  test('makes the note durable, then the new name, then the loss of the old one', async () => {
    const root = scratch()
    mkdirSync(join(root, 'quarantine'))
    const options = damaged(root)
    const { fs, log } = observe(root)
    await moveAside(fs, options)
    const order = log.map((line) => line.replaceAll(/x\.pack\.bad\S*[0-9a-f]{16}/g, '*'))
    expect(order).toEqual([
      'openDirectory /quarantine',
      'openDirectory ',
      'open create /quarantine/*.json',
      'write /quarantine/*.json',
      'sync /quarantine/*.json',
      'close /quarantine/*.json',
      'syncDirectory /quarantine',
      'rename /x.pack /quarantine/*',
      'syncDirectory /quarantine',
      'syncDirectory ',
    ])
  })

  test('takes names of any length, and directories', async () => {
    const root = scratch()
    await moveAside(nodeFileSystem, damaged(root, 'é'.repeat(125)))
    mkdirSync(join(root, 'store'))
    const path = await moveAside(nodeFileSystem, { ...damaged(root), from: join(root, 'store') })
    expect(statSync(path).isDirectory()).toBe(true)
  })

  test('that cannot take the file leaves it, and no note', async () => {
    const root = scratch()
    const { fs } = observe(root, (line) => {
      if (line.startsWith('rename')) throw systemError('EACCES')
    })
    await expect(moveAside(fs, damaged(root))).rejects.toMatchObject({ code: 'IO_FAILED' })
    expect(readdirSync(root).sort()).toEqual(['quarantine', 'x.pack'])
    expect(readdirSync(join(root, 'quarantine'))).toEqual([])
  })
})
