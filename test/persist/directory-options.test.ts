import { chmodSync, mkdirSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { type BlobInput, memory, openStore, type Snapshot, type Store } from '../../src/index.ts'
import { failure, rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

/** A directory of these files; a path that ends in `/` is a directory. */
function tree(...paths: string[]): string {
  const root = scratch()
  for (const path of paths) {
    mkdirSync(join(root, path.endsWith('/') ? path : join(path, '..')), { recursive: true })
    if (!path.endsWith('/')) writeFileSync(join(root, path), path)
  }
  return root
}

async function kept(input: BlobInput, store: Store = memory()): Promise<Snapshot> {
  await store.persist({ blobs: { d: input } })
  return (await store.load())!
}

const names = async (input: BlobInput): Promise<string[]> => {
  const { files, emptyDirectories } = (await kept(input)).directory('d')
  return [...files.keys(), ...emptyDirectories.map((path) => `${path}/`)].sort()
}

describe('exclude', () => {
  const some = (): string =>
    tree('a', 'b.tmp', 'cache/x.bin', 'cache/y.txt', 'deep/cache/z', 'deep/node_modules/m/i', 'deep/b.tmp', 'a.b')

  test.each<[string, readonly string[] | ((path: string) => boolean), string[]]>([
    [
      'nothing',
      [],
      ['a', 'a.b', 'b.tmp', 'cache/x.bin', 'cache/y.txt', 'deep/b.tmp', 'deep/cache/z', 'deep/node_modules/m/i'],
    ],
    ['names', ['node_modules', '*.tmp'], ['a', 'a.b', 'cache/x.bin', 'cache/y.txt', 'deep/cache/z']],
    ['a name of files and of directories', ['cache/', 'a'], ['a.b', 'b.tmp', 'deep/b.tmp', 'deep/node_modules/m/i']],
    ['paths', ['cache/*.bin', './b.tmp', '/deep'], ['a', 'a.b', 'cache/y.txt']],
    ['what a function says', (path) => path.endsWith('/') && path !== 'deep/', ['a', 'a.b', 'b.tmp', 'deep/b.tmp']],
    [
      'no more than what fits: a dot is a dot',
      ['a?b', '?', 'A', 'cach'],
      ['a', 'a.b', 'b.tmp', 'cache/x.bin', 'cache/y.txt', 'deep/b.tmp', 'deep/cache/z', 'deep/node_modules/m/i'],
    ],
  ])('leaves out %s', async (_, exclude, expected) => {
    expect(await names({ directory: some(), exclude })).toEqual(expected)
  })

  test('of all that is in a directory leaves an empty directory, and of links and pipes lets the rest be kept', async () => {
    const odd = tree('in/x.tmp', 'y')
    symlinkSync('/nowhere', join(odd, 'link'))
    expect(await names({ directory: odd, exclude: ['link', '*.tmp'] })).toEqual(['in/', 'y'])
    const error = await rejects(kept({ directory: odd }), 'SOURCE_FAILED')
    expect(error.message).toMatch(/followLinks.*exclude/)
  })

  test.each<[string, unknown]>([
    ['text', '*.tmp'],
    ['an empty name', ['']],
    ['a number', [5]],
    ['a Promise for an answer', async () => true],
  ])('that is %s is a TypeError', async (_, exclude) => {
    expect(await failure(kept({ directory: some(), exclude } as BlobInput))).toBeInstanceOf(TypeError)
  })

  test('and other options are of directories only', async () => {
    expect(await failure(kept({ file: join(some(), 'a'), exclude: [] } as BlobInput))).toBeInstanceOf(TypeError)
    expect(await failure(kept({ directory: some(), excludes: [] } as BlobInput))).toBeInstanceOf(TypeError)
  })
})

describe('followLinks', () => {
  test('takes what links lead to, files and directories, inside and outside', async () => {
    const outside = tree('far/x')
    const root = tree('a', 'in/b')
    symlinkSync(join(root, 'a'), join(root, 'to-a'))
    symlinkSync('in', join(root, 'to-in'))
    symlinkSync(join(outside, 'far'), join(root, 'to-far'))
    expect(await names({ directory: root, followLinks: true })).toEqual(['a', 'in/b', 'to-a', 'to-far/x', 'to-in/b'])
    const snapshot = await kept({ directory: root, followLinks: true })
    expect(await snapshot.blob('d/to-a').text()).toBe('a')
    const target = join(scratch(), 'out')
    await snapshot.directory('d').writeTo(target)
    expect(readFileSync(join(target, 'to-far/x'), 'utf8')).toBe('far/x')
    await rejects(kept({ directory: root }), 'SOURCE_FAILED')
  })

  test.each<[string, (root: string) => void]>([
    ['leads nowhere', (root) => symlinkSync('nowhere', join(root, 'link'))],
    ['leads to itself', (root) => symlinkSync('link', join(root, 'link'))],
    ['leads back to its directory', (root) => symlinkSync('.', join(root, 'link'))],
    ['leads back to a directory above', (root) => symlinkSync('../..', join(root, 'in/deep/link'))],
    ['leads to a device', (root) => symlinkSync('/dev/null', join(root, 'link'))],
  ])('a link that %s is refused', async (_, make) => {
    const root = tree('in/deep/a')
    make(root)
    const error = await failure(kept({ directory: root, followLinks: true }))
    expect(error).toMatchObject({ name: 'HoldfastError', message: expect.stringContaining('link') as string })
  })

  test.each([
    ['.', 'link'],
    ['../..', 'in/deep/link'],
  ])('a link to %s is told to lead back, before it is followed', async (to, link) => {
    const root = tree('in/deep/a')
    symlinkSync(to, join(root, link))
    const error = await failure(kept({ directory: root, followLinks: true }))
    expect(error).toMatchObject({ code: 'SOURCE_FAILED', details: { path: join(root, link) } })
  })

  test('two links to one directory are no circle', async () => {
    const root = tree('in/a')
    for (const link of ['one', 'two']) symlinkSync('in', join(root, link))
    expect(await names({ directory: root, followLinks: true })).toEqual(['in/a', 'one/a', 'two/a'])
  })

  test('a link that leads elsewhere while it is read is SOURCE_CHANGED', async () => {
    const root = tree('a')
    symlinkSync('a', join(root, 'link'))
    const store = memory()
    const blobs: [string, BlobInput][] = [
      ['d', { directory: root, followLinks: true }],
      [
        'later',
        (async function* () {
          writeFileSync(join(root, 'a'), 'other')
          yield Buffer.from('x')
        })(),
      ],
    ]
    await rejects(store.persist({ blobs }), 'SOURCE_CHANGED')
  })
})

describe.skipIf(process.platform === 'win32')('keepModes', () => {
  function withModes(): string {
    const root = tree('run.sh', 'secret/key', 'shared/', '__proto__')
    for (const [path, mode] of Object.entries({ 'run.sh': 0o755, 'secret/key': 0o400, secret: 0o500, shared: 0o777 })) {
      chmodSync(join(root, path), mode)
    }
    chmodSync(join(root, '__proto__'), 0o641)
    return root
  }
  const modesIn = (root: string): string[] =>
    (readdirSync(root, { recursive: true }) as string[])
      .sort()
      .map((path) => `${path} ${(statSync(join(root, path)).mode & 0o777).toString(8)}`)

  test('brings back the permission bits of files and directories', async () => {
    const root = withModes()
    const snapshot = await kept({ directory: root, keepModes: true })
    const target = join(scratch(), 'out')
    await snapshot.directory('d').writeTo(target)
    expect(modesIn(target)).toEqual(modesIn(root))
    expect([...snapshot.directory('d').files.keys()]).not.toContain('/modes')
    expect(snapshot.names).toContain('d//modes')
  })

  test('without it, modes are those of new files, and no snapshot differs by a mode', async () => {
    const root = withModes()
    const store = memory()
    const target = join(scratch(), 'out')
    await (await kept({ directory: root }, store)).directory('d').writeTo(target)
    expect(statSync(join(target, 'run.sh')).mode & 0o111).toBe(0)
    chmodSync(join(root, 'run.sh'), 0o700)
    expect(await store.persist({ blobs: { d: { directory: root } } })).toMatchObject({ unchanged: true })
    await store.persist({ blobs: { d: { directory: root, keepModes: true } } })
    expect(await store.persist({ blobs: { d: { directory: root, keepModes: true } } })).toMatchObject({
      unchanged: true,
    })
    chmodSync(join(root, 'run.sh'), 0o711)
    const { unchanged } = await store.persist({ blobs: { d: { directory: root, keepModes: true } } })
    expect(unchanged).toBe(false)
  })

  test('a mode that changes while the directory is read is SOURCE_CHANGED', async () => {
    const root = withModes()
    const later = (async function* () {
      chmodSync(join(root, 'run.sh'), 0o700)
      yield Buffer.from('x')
    })()
    const error = await rejects(
      memory().persist({
        blobs: [
          ['d', { directory: root, keepModes: true }],
          ['later', later],
        ],
      }),
      'SOURCE_CHANGED',
    )
    expect(error.details).toMatchObject({ files: ['run.sh'] })
  })

  test.each(['{', '[]', '{"a":"755"}', '{"./a":"9"}', '{"./a":493}', 'null'])(
    'a blob of that name that is no list of modes (%s) is refused before anything is written',
    async (text) => {
      const store = memory()
      await store.persist({ blobs: { 'd/a': 'x', 'd//modes': text } })
      const target = join(scratch(), 'out')
      await rejects((await store.load())!.directory('d').writeTo(target), 'BLOB_NAME_INVALID')
      expect(readdirSync(join(target, '..'))).toEqual([])
    },
  )
})

test('a directory that the store lies in is refused from the first persist on, unless it is excluded', async () => {
  const root = tree('docs/a')
  const inside = join(root, 'deep/store')
  await using store = await openStore(inside)
  const persist = (exclude?: string[]) => store.persist({ blobs: { all: { directory: root, exclude } } })
  const refused = {
    code: 'SOURCE_FAILED',
    message: expect.stringMatching(/the store itself lies in .* exclude: \['deep\/store'\]/) as string,
  }
  expect(await failure(persist())).toMatchObject(refused)
  await store.persist({ blobs: { text: 'makes the store' } })
  expect(await failure(persist())).toMatchObject(refused)
  for (const exclude of [['deep/store'], ['deep'], ['store']]) await persist(exclude)
  symlinkSync(root, `${root}.link`)
  await rejects(store.persist({ blobs: { all: { directory: `${root}.link` } } }), 'SOURCE_FAILED')
  for (const directory of [inside, join(inside, 'packs')]) {
    expect(await failure(store.persist({ blobs: { all: { directory } } }))).toMatchObject({
      code: 'SOURCE_FAILED',
      message: expect.stringMatching(/is the store's own.*copy\(\)/) as string,
    })
  }
})
