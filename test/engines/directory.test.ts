// An engine that is a directory of files comes back as one.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { plain } from '../../src/engines/plain.ts'
import { memory } from '../../src/index.ts'
import { scratch } from '../support/scratch.ts'

test('saved.directory() lays out what save gave as { directory }', async () => {
  const home = scratch()
  const from = join(home, 'from')
  mkdirSync(join(from, 'segments'), { recursive: true })
  writeFileSync(join(from, 'meta.json'), '{}')
  writeFileSync(join(from, 'segments', '0001'), 'terms')
  writeFileSync(join(home, 'beside'), 'not of the engine')
  const adapter = plain<{ path: string }>({
    name: 'folder',
    save: ({ path }) => ({ directory: path }),
    async restore(saved) {
      const path = join(home, 'to')
      await saved.directory('index').writeTo(path)
      return { path }
    },
  })
  const store = memory()
  await persistEngine(store, adapter, { path: from }, { alongside: { blobs: { index: 'not of the engine' } } })
  const { engine } = (await restoreEngine(store, adapter))!
  expect(readFileSync(join(engine.path, 'segments', '0001'), 'utf8')).toBe('terms')
  expect(readFileSync(join(engine.path, 'meta.json'), 'utf8')).toBe('{}')
  expect(existsSync(join(engine.path, 'index'))).toBe(false)
})
