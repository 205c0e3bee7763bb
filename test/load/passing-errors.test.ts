// A pack that cannot be read for a moment is not damaged: it is `IO_FAILED` as often as it is asked for, never a reason
// to fall back, and once the disk gives it again the same snapshot reads.

import { expect, test } from 'vitest'
import type { FileSystem } from '../../src/fs/port.ts'
import { createDisk } from '../faulty-disk/disk.ts'
import { build, open, packsOf, persisted, systemError } from '../support/lab.ts'
import { rejects } from '../support/rejects.ts'

const image = await build(persisted('a1', 'a2', 'b3'))
const packs = packsOf(image).map((path) => `/srv/store/${path}`)

/** A disk on which packs fail while `state.failing`: when they are read, or as directories in their places. */
function failing(state: { failing: boolean }, how: 'EIO' | 'directory') {
  return (fs: FileSystem): FileSystem => ({
    ...fs,
    async open(path, kind, mode) {
      const file = await fs.open(path, kind, mode)
      if (!packs.includes(path)) return file
      return {
        ...file,
        readv: undefined,
        async stat() {
          const stat = await file.stat()
          return state.failing && how === 'directory' ? { ...stat, kind: 'directory' as const, size: 40 } : stat
        },
        async read(target, position) {
          if (!state.failing) return await file.read(target, position)
          throw systemError(how === 'EIO' ? 'EIO' : 'EISDIR', 'read')
        },
      }
    },
  })
}

test.each(['EIO', 'directory'] as const)('%s: asked again and again, and then as it was', async (how) => {
  const state = { failing: true }
  const store = open(createDisk(image), { through: failing(state, how) })
  for (let turn = 0; turn < 3; turn++) {
    await rejects(store.load({ fallback: true }), 'IO_FAILED')
    await rejects(
      store.restore((snapshot) => snapshot.blob('index').bytes(), { fallback: true }),
      'IO_FAILED',
    )
  }
  state.failing = false
  await using snapshot = await store.load({ fallback: true })
  expect(snapshot!.sequence).toBe(3)
  state.failing = true
  if (how === 'EIO') for (let turn = 0; turn < 3; turn++) await rejects(snapshot!.blob('index').bytes(), 'IO_FAILED')
  state.failing = false
  expect((await snapshot!.blob('index').bytes()).length).toBe(2048)
  await store.close()
})
