import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { CODEC_RAW, cidText } from '../../src/format/cid.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { File, FileSystem } from '../../src/fs/port.ts'
import { createLocalFiles, type LocalFiles } from '../../src/local/files.ts'
import { rejects } from '../support/rejects.ts'
import { scratch } from '../support/scratch.ts'

const BYTES = Buffer.from('what an engine saved')
const CID = cidText({ codec: CODEC_RAW, digest: blake3(BYTES) })
const LOCK = `${CID}.lock`

function localFilesIn(directory: string, fs: FileSystem = nodeFileSystem): LocalFiles {
  return createLocalFiles({ fs, directory, lock: true, quarantineDirectory: join(dirname(directory), 'quarantine') })
}

function use(shelf: LocalFiles): ReturnType<LocalFiles['use']> {
  return shelf.use(CID, BYTES.length, {
    verify: async () => true,
    fill: (write) => write([BYTES], 0),
  })
}

/**
 * A disk on which, the first time that a lock file was opened, something else happens before anything is done with it.
 */
function afterFirstLockOpened(happens: (path: string) => Promise<void> | void): FileSystem {
  let happened = false
  return {
    ...nodeFileSystem,
    async open(path, how, mode): Promise<File> {
      const file = await nodeFileSystem.open(path, how, mode)
      if (!happened && path.endsWith('.lock')) {
        happened = true
        await happens(path)
      }
      return file
    },
  }
}

test.skipIf(process.platform === 'win32')(
  'nothing is written through a link that leads out of the directory',
  async () => {
    const root = scratch()
    mkdirSync(join(root, 'outside'))
    mkdirSync(join(root, 'files'))
    symlinkSync(join(root, 'outside'), join(root, 'files', '.tmp'))
    await rejects(use(localFilesIn(join(root, 'files'))), 'IO_FAILED')
    expect(readdirSync(join(root, 'outside'))).toEqual([])
  },
)

test('a file that somebody uses is not removed, whoever else has come and gone', async () => {
  const directory = join(scratch(), 'files')
  const [one, two] = [await use(localFilesIn(directory)), await use(localFilesIn(directory))]
  await one.release()
  expect(await localFilesIn(directory).remove(CID)).toBe(false)
  expect(readFileSync(two.path)).toEqual(BYTES)
  two.releaseSync()
  expect(await localFilesIn(directory).remove(CID)).toBe(true)
  expect(readdirSync(directory)).toEqual(['.tmp'])
})

test('the lock of a file in use counts, though a collector removed the lock file as it was being locked', async () => {
  const directory = join(scratch(), 'files')
  const used = await use(
    localFilesIn(
      directory,
      afterFirstLockOpened((path) => unlinkSync(path)),
    ),
  )
  expect(await localFilesIn(directory).remove(CID)).toBe(false)
  expect(readFileSync(used.path)).toEqual(BYTES)
  await used.release()
  expect(await localFilesIn(directory).remove(CID)).toBe(true)
  expect(existsSync(used.path)).toBe(false)
})

test('a collector whose lock file was removed by another leaves a file that is in use since', async () => {
  const directory = join(scratch(), 'files')
  mkdirSync(directory)
  writeFileSync(join(directory, LOCK), '')
  let used: Awaited<ReturnType<typeof use>> | null = null
  const collector = localFilesIn(
    directory,
    afterFirstLockOpened(async (path) => {
      unlinkSync(path)
      used = await use(localFilesIn(directory))
    }),
  )
  expect(await collector.remove(CID)).toBe(false)
  expect(readFileSync(used!.path)).toEqual(BYTES)
  expect(await localFilesIn(directory).remove(CID)).toBe(false)
  await used!.release()
})

test('a file that has no lock beside it was not laid out, and stays', async () => {
  const directory = join(scratch(), 'files')
  mkdirSync(directory)
  writeFileSync(join(directory, CID), 'mine')
  expect(await localFilesIn(directory).remove(CID)).toBe(false)
  expect(readdirSync(directory)).toEqual([CID])
})

test('a lock whose file was never made is found and removed, and nothing of the caller is', async () => {
  const directory = join(scratch(), 'files')
  mkdirSync(directory)
  for (const name of [LOCK, 'notes.txt', 'notes.txt.lock']) writeFileSync(join(directory, name), '')
  const shelf = localFilesIn(directory)
  expect(await shelf.list()).toEqual({ cids: [CID], images: [], temps: false })
  expect(await shelf.remove(CID)).toBe(true)
  expect(readdirSync(directory).sort()).toEqual(['notes.txt', 'notes.txt.lock'])
})
