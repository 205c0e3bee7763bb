// Which saves of `autosave` keep the engine's file as an image.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, onTestFinished, test, vi } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { type AutosaveOptions, autosave } from '../../src/engines/autosave.ts'
import { eventually } from '../support/eventually.ts'
import { scratch } from '../support/scratch.ts'
import { change, type FileEngine, fileAdapter, fileEngine } from './file-engine.ts'

function imageOf(path: string): Buffer | null {
  const files = join(path, 'files')
  const names = existsSync(files) ? readdirSync(files).filter((name) => name.endsWith('.image')) : []
  expect(names.length).toBeLessThanOrEqual(1)
  return names.length === 0 ? null : readFileSync(join(files, names[0]!))
}

/** A store with an engine in it, and one that is to be saved there. */
async function begin(options: AutosaveOptions<FileEngine> = {}, adapter = fileAdapter()) {
  const path = join(scratch(), 'store')
  const engine = fileEngine(50)
  await persistEngine(path, adapter, engine, { image: 'none' })
  const kept: number[] = []
  const onSave: AutosaveOptions<FileEngine>['onSave'] = ({ bytes }) => kept.push(bytes.image)
  const saver = autosave(path, adapter, engine, { everyMs: 1e6, onSave, ...options })
  onTestFinished(() => saver.close().catch(() => undefined))
  function alter(to: number): void {
    change(engine, 10, to)
    saver.changed()
  }
  return { path, engine, saver, kept, alter }
}

test('the saves in between drop it, and the last one keeps it', async () => {
  const { path, engine, saver, kept, alter } = await begin()
  for (const to of [1, 2]) {
    alter(to)
    await saver.flush()
    expect(imageOf(path)).toBe(null)
  }
  alter(3)
  await saver.close()
  expect(imageOf(path)?.equals(engine.bytes)).toBe(true)
  expect(kept).toEqual([0, 0, engine.bytes.length])
})

test('a close with nothing left to save keeps it all the same', async () => {
  const { path, engine, saver, kept, alter } = await begin()
  alter(1)
  await saver.flush()
  await saver.close()
  expect(imageOf(path)?.equals(engine.bytes)).toBe(true)
  expect(kept).toEqual([0, engine.bytes.length])
})

test('a close that cannot keep it has lost nothing, and says nothing', async () => {
  let fails = false
  const save = (to: string, bytes: Buffer): void => {
    if (fails) throw new Error('no')
    writeFileSync(to, bytes)
  }
  const onError = vi.fn()
  const { path, engine, saver, alter } = await begin({ onError }, fileAdapter({ save }))
  alter(1)
  await saver.flush()
  fails = true
  await saver.close()
  expect(onError).not.toHaveBeenCalled()
  expect(imageOf(path)).toBe(null)
  const restored = (await restoreEngine(path, fileAdapter()))!
  expect(restored.engine.bytes.equals(engine.bytes)).toBe(true)
  await restored.dispose()
})

test.each(['always', 'none'] as const)('every save keeps it, or none does, if told so: %s', async (image) => {
  const { path, engine, saver, kept, alter } = await begin({ image })
  for (const to of [1, 2]) {
    alter(to)
    await saver.flush()
    expect(imageOf(path)?.equals(engine.bytes) ?? false).toBe(image === 'always')
  }
  await saver.close()
  expect(kept).toEqual(image === 'always' ? [engine.bytes.length, engine.bytes.length] : [0, 0])
})

test.skipIf(process.platform === 'win32')('a flush on a signal keeps it', async () => {
  const listener = (): void => undefined
  process.on('SIGUSR2', listener)
  onTestFinished(() => void process.off('SIGUSR2', listener))
  const { path, engine, alter } = await begin({ signals: ['SIGUSR2'] })
  alter(1)
  process.kill(process.pid, 'SIGUSR2')
  await eventually(() => expect(imageOf(path)?.equals(engine.bytes)).toBe(true))
})

test('an engine that cannot be changed is refused', () => {
  expect(() => autosave(scratch(), fileAdapter({ readOnly: true }), fileEngine(1))).toThrow('cannot be changed')
  expect(() => autosave(scratch(), fileAdapter(), fileEngine(1), { image: 'first' as 'last' })).toThrow(TypeError)
})
