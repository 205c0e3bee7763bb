import { describe, expect, onTestFinished, test, vi } from 'vitest'
import { type HoldfastError, isHoldfastError } from '../../src/errors.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { loadSnapshot, type PersistResult, type Store, type StoreOptions, type Warning } from '../../src/index.ts'
import { noise, sameBytes } from '../support/bytes.ts'
import { failure, rejects } from '../support/rejects.ts'
import { kinds } from '../support/storages.ts'
import { storeOver } from '../support/store-over.ts'
import { FIRST_BLOCK, FOOTER, type Watched, watch } from '../support/watched.ts'

const manifestOf = (saved: PersistResult): string => saved.manifest

describe.each(kinds)('a load from a $name store', ({ open, storage }) => {
  test('of a fresh start is null, or `NO_SNAPSHOT` when one is required', async () => {
    const store = await open()
    const use = vi.fn()
    expect(await store.load()).toBe(null)
    expect(await store.load({ fallback: true, blobs: ['a'] })).toBe(null)
    expect(await store.restore(use)).toBe(null)
    expect(await store.snapshots()).toEqual([])
    for (const call of [
      () => store.load({ required: true }),
      // Who has seen snapshots here knows that this is no fresh start.
      () => store.load({ minSequence: 7 }),
      () => store.restore(use, { required: true, fallback: true }),
      () => store.materialize(),
      () => loadSnapshot(store, { required: true }),
    ]) {
      const error = await rejects(call(), 'NO_SNAPSHOT')
      expect(error.details).toEqual({ location: store.location })
      expect(error.kind).toBe('environment')
    }
    for (const at of [5, 'release']) {
      await rejects(store.load({ at, fallback: true }), 'SNAPSHOT_NOT_FOUND')
      await rejects(store.restore(use, { at }), 'SNAPSHOT_NOT_FOUND')
    }
    expect(use).not.toHaveBeenCalled()
  })

  test('gives the current snapshot, or the one at a sequence or a tag', async () => {
    const store = await open({ keepLast: 10 })
    for (const content of ['one', 'two', 'three']) await store.persist({ blobs: { a: content }, message: content })
    await store.tag('stable', { at: 2 })
    await store.tag('3', { at: 1 })
    const text = async (at?: number | string) => {
      await using snapshot = (await store.load(at === undefined ? {} : { at }))!
      expect(snapshot.message).toBe(await snapshot.blob('a').text())
      return snapshot.message
    }
    expect(await text()).toBe('three')
    expect(await text(1)).toBe('one')
    expect(await text(3)).toBe('three')
    expect(await text('stable')).toBe('two')
    expect(await text('3')).toBe('one')
    const missing = await rejects(store.load({ at: 4 }), 'SNAPSHOT_NOT_FOUND')
    expect(missing.details).toMatchObject({ at: 4, sequences: [3, 2, 1] })
    const untagged = await rejects(store.load({ at: 'beta' }), 'SNAPSHOT_NOT_FOUND')
    expect(untagged.details).toMatchObject({ at: 'beta', tags: ['stable', '3'] })
    for (const at of [1.5, Number.NaN, null as unknown as number, {} as number]) {
      expect(await failure(store.load({ at }))).toBeInstanceOf(TypeError)
    }
  })

  test('describes the snapshot', async () => {
    const store = await open()
    await store.persist({ blobs: { b: 'xx', a: 'x' }, message: 'hello' })
    await store.tag('t')
    const snapshot = (await store.load())!
    expect(snapshot).toMatchObject({
      sequence: 1,
      message: 'hello',
      tags: ['t'],
      current: true,
      abandoned: false,
      size: 3,
      metadata: {},
      watermark: undefined,
      names: ['a', 'b'],
      skipped: [],
    })
    const { sequence, manifest, time, message, tags, current, abandoned, size } = snapshot
    expect(await store.snapshots()).toEqual([{ sequence, manifest, time, message, tags, current, abandoned, size }])
  })

  test('checks at once that blobs are there which will be needed', async () => {
    const store = await open()
    await store.persist({ blobs: { index: 'x', __proto__x: 'y' } })
    const snapshot = await store.load({ blobs: ['index'] })
    expect(await snapshot!.blob('index').text()).toBe('x')
    const error = await rejects(store.load({ blobs: ['index', 'docs'] }), 'BLOB_NOT_FOUND')
    expect(error.details).toMatchObject({ sequence: 1, blob: 'docs', blobs: ['index', '__proto__x'] })
    await rejects(store.load({ blobs: ['__proto__'] }), 'BLOB_NOT_FOUND')
    await rejects(
      store.restore(() => 1, { blobs: ['docs'], fallback: true }),
      'BLOB_NOT_FOUND',
    )
  })

  test('refuses a store that is older than what was seen before', async () => {
    const store = await open()
    await store.persist({ blobs: { a: '1' } })
    await store.persist({ blobs: { a: '2' } })
    expect((await store.load({ minSequence: 2 }))!.sequence).toBe(2)
    expect((await store.load({ minSequence: 2, at: 1 }))!.sequence).toBe(1)
    const error = await rejects(store.load({ minSequence: 3 }), 'STORE_ROLLED_BACK')
    expect(error.details).toEqual({ sequence: 2, minSequence: 3 })
    expect(await failure(store.load({ minSequence: '2' as unknown as number }))).toBeInstanceOf(TypeError)
  })

  describe('with `restore`', () => {
    test('answers what was made of the snapshot, which stays open', async () => {
      const store = await open()
      await store.persist({ blobs: { a: 'x' } })
      const restored = await store.restore(async (snapshot) => `${await snapshot.blob('a').text()}!`)
      expect(restored).toMatchObject({ value: 'x!', skipped: [] })
      expect(await restored!.snapshot.blob('a').text()).toBe('x')
      await restored!.snapshot.dispose()
    })

    test('rethrows the engine’s own error as it is, with and without fallback, and closes the snapshot', async () => {
      const store = await open()
      await store.persist({ blobs: { a: '1' } })
      await store.persist({ blobs: { a: '2' } })
      const reason = new Error('wrong dimensions')
      for (const fallback of [false, true]) {
        const seen: { sequence: number; read: () => Promise<string> }[] = []
        const error = await failure(
          store.restore(
            (snapshot) => {
              seen.push({ sequence: snapshot.sequence, read: () => snapshot.blob('a').text() })
              throw reason
            },
            { fallback },
          ),
        )
        expect(error).toBe(reason)
        expect(seen.map(({ sequence }) => sequence)).toEqual([2])
        await rejects(seen[0]!.read(), 'SNAPSHOT_DISPOSED')
      }
    })
  })

  describe('when what lies there is not what was written', () => {
    const generations = [1, 2, 3, 4]
    /** Four snapshots with nothing in common; `rot` damages the blob or the whole pack of one. */
    async function damaged(options: StoreOptions = {}): Promise<{
      store: Store
      /** The same store to one who knows nothing of it yet. */
      reopen: () => Store
      watched: Watched
      warnings: Warning[]
      rot: (n: number, position?: number) => Promise<void>
    }> {
      const watched = watch(storage())
      const warnings: Warning[] = []
      const onWarning = (warning: Warning): void => void warnings.push(warning)
      const reopen = (): Store => storeOver(watched.storage, nodeFileSystem, { keepLast: 4, onWarning, ...options })
      const store = reopen()
      for (const n of generations) await store.persist({ blobs: { a: noise(50_000, n), b: `b${n}` }, metadata: { n } })
      return {
        store,
        reopen,
        watched,
        warnings,
        async rot(n, position = FIRST_BLOCK) {
          for (const pack of await watched.ownPacks(n)) watched.rot(pack, position)
        },
      }
    }

    test('the error names the blob, and nothing else is affected', async () => {
      const { store, rot, warnings } = await damaged()
      await rot(4)
      const snapshot = (await store.load())!
      const blob = snapshot.blob('a')
      for (const read of [() => blob.bytes(), () => blob.text(), () => blob.file(), () => blob.stream().next()]) {
        const error = await rejects(read(), 'BLOB_DAMAGED')
        expect(error.details).toMatchObject({ sequence: 4, blob: 'a', location: store.location })
        expect(error.kind).toBe('damaged')
        expect(error.message).toContain('"a"')
      }
      expect(await snapshot.blob('b').text()).toBe('b4')
      expect(snapshot.metadata).toEqual({ n: 4 })
      expect(await (await store.load({ at: 3 }))!.blob('b').text()).toBe('b3')
      expect(warnings).toEqual([])
    })

    test.each([
      ['the blob', FIRST_BLOCK],
      ['the pack', FOOTER],
    ])('in %s, `fallback` takes the snapshot before and says what it passed over', async (_, position) => {
      const { reopen, rot, warnings } = await damaged()
      await rot(4, position)
      await rot(3, position)
      const store = reopen()
      const snapshot = (await store.load({ fallback: true }))!
      expect(snapshot.sequence).toBe(2)
      expect(snapshot.current).toBe(false)
      expect(snapshot.metadata).toEqual({ n: 2 })
      expect(await snapshot.blob('b').text()).toBe('b2')
      expect(snapshot.skipped.map(({ sequence }) => sequence)).toEqual([4, 3])
      for (const { error } of snapshot.skipped) expect(error).toMatchObject({ kind: 'damaged' })
      expect(warnings.map(({ code, details }) => [code, details.sequence])).toEqual([
        ['FALLBACK', 4],
        ['FALLBACK', 3],
      ])

      const restored = await store.restore(
        ({ sequence, blob }) =>
          blob('a')
            .bytes()
            .then(() => sequence),
        { fallback: true },
      )
      expect(restored).toMatchObject({ value: 2, skipped: [{ sequence: 4 }, { sequence: 3 }] })
    })

    test('without `fallback` it is an error', async () => {
      const { store, reopen, rot } = await damaged()
      await rot(4)
      await rejects(
        store.restore(({ blob }) => blob('a').bytes()),
        'BLOB_DAMAGED',
      )
      await rot(4, FOOTER)
      const error = await rejects(reopen().load(), 'SNAPSHOT_DAMAGED')
      expect(error.details).toMatchObject({ sequence: 4 })
    })

    test('`restore` goes on when the engine has other words for it', async () => {
      const { store, rot } = await damaged()
      await rot(4)
      const restored = await store.restore(
        async ({ sequence, blob }) => {
          try {
            await blob('a').bytes()
          } catch {
            throw new Error('could not read the index')
          }
          return sequence
        },
        { fallback: true },
      )
      expect(restored!.value).toBe(3)
      expect(restored!.skipped[0]!.error.code).toBe('BLOB_DAMAGED')
    })

    test('`restore` takes the damaged snapshot when `use` can do without what is damaged', async () => {
      const { store, rot } = await damaged()
      await rot(4)
      const restored = await store.restore(({ blob }) => blob('b').text(), { fallback: true })
      expect(restored!.value).toBe('b4')
      const tolerant = await store.restore(
        ({ blob }) =>
          blob('a')
            .text()
            .catch(() => 'rebuilt'),
        { fallback: true },
      )
      expect(tolerant!.value).toBe('rebuilt')
    })

    test('`load` with `fallback` reads only the blobs that were asked for', async () => {
      const { store, rot } = await damaged()
      await rot(4)
      expect((await store.load({ fallback: true, blobs: ['b'] }))!.sequence).toBe(4)
      expect((await store.load({ fallback: true, blobs: ['a'] }))!.sequence).toBe(3)
    })

    test('in all of them, the error is the newest one’s and tells of the others', async () => {
      const { store, rot } = await damaged()
      for (const n of generations) await rot(n)
      const error = await rejects(store.load({ fallback: true }), 'BLOB_DAMAGED')
      expect(error.details).toMatchObject({ sequence: 4, blob: 'a' })
      const skipped = error.details.skipped as { sequence: number; error: HoldfastError }[]
      expect(skipped.map(({ sequence }) => sequence)).toEqual([4, 3, 2, 1])
      expect(error.cause).toBe(skipped[0]!.error)
      expect(isHoldfastError(error.cause, 'BLOB_DAMAGED')).toBe(true)
    })

    test('`fallback` does not go below `minSequence`', async () => {
      const { store, rot } = await damaged()
      await rot(4)
      expect((await store.load({ fallback: true, minSequence: 3 }))!.sequence).toBe(3)
      await rejects(store.load({ fallback: true, minSequence: 4 }), 'BLOB_DAMAGED')
    })

    test('`fallback` from an older snapshot goes to still older ones', async () => {
      const { store, rot } = await damaged()
      await rot(3)
      expect((await store.load({ fallback: true, at: 3 }))!.sequence).toBe(2)
      expect((await store.load({ fallback: true }))!.sequence).toBe(4)
    })

    test('warnings go to the process unless told otherwise', async () => {
      const heard: Error[] = []
      const listen = (warning: Error): void => void heard.push(warning)
      process.on('warning', listen)
      onTestFinished(() => void process.off('warning', listen))
      const { watched } = await damaged()
      const store = storeOver(watched.storage, nodeFileSystem)
      for (const pack of await watched.ownPacks(4)) watched.rot(pack, FIRST_BLOCK)
      await store.load({ fallback: true })
      await new Promise((resolve) => setImmediate(resolve))
      expect(heard).toMatchObject([{ name: 'HoldfastWarning', code: 'FALLBACK' }])
    })

    describe.each([
      ['a chunk', (_saved: PersistResult) => undefined],
      ['a node', (saved: PersistResult) => saved.blobs.a!.cid],
      ['the manifest', manifestOf],
    ])('in %s', (_, block) => {
      /** The newest snapshot is damaged, and a read has found out. */
      async function foundOut(
        options: StoreOptions,
      ): Promise<{ store: Store; watched: Watched; persist: () => Promise<PersistResult> }> {
        const { store, rot, watched } = await damaged(options)
        const persist = () => store.persist({ blobs: { a: noise(50_000, 4), b: 'b4' }, metadata: { n: 4 } })
        const saved = await persist()
        expect(saved.unchanged).toBe(true)
        const cid = block(saved)
        if (cid === undefined) await rot(4)
        else await watched.rotBlock(cid)
        await failure(store.restore(({ blob }) => blob('a').bytes()))
        return { store, watched, persist }
      }

      async function expectGood(store: Store, at: number | string): Promise<void> {
        await using snapshot = (await store.load({ at }))!
        expect(sameBytes(await snapshot.blob('a').bytes(), noise(50_000, 4))).toBe(true)
      }

      test('the next persist of the same content writes it again, and all is well', async () => {
        const { store, watched, persist } = await foundOut({ keepLast: 4 })
        expect(await persist()).toMatchObject({ sequence: 5, unchanged: false })
        expect((await watched.head()).damaged[0]!.digests).toHaveLength(1)
        await expectGood(store, 4)
        await expectGood(store, 5)
      })

      // The good copy stays because later snapshots need it as well, which is not so for a manifest.
      test.skipIf(block === manifestOf)('it stays well through many persists, folding and all', async () => {
        const { store, watched, persist } = await foundOut({ keepLast: 3 })
        await store.tag('kept', { at: 4 })
        await persist()
        for (let i = 0; i < 30; i++) {
          await store.persist({ blobs: { a: noise(50_000, 4), b: `later ${i}` } })
          await expectGood(store, 'kept')
          await expectGood(store, 6 + i)
        }
        expect((await watched.head()).packs.length).toBeLessThan(20)
      })
    })
  })
})
