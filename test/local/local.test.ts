import { existsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { nodeFileSystem } from '../../src/fs/node.ts'
import { localBesideStore, localScratch } from '../../src/local/local.ts'
import { scratch } from '../support/scratch.ts'

const places = {
  'beside a store': () =>
    localBesideStore({ fs: nodeFileSystem, directory: join(scratch(), 'store'), lock: true, readOnly: false }),
  'without a store’s directory': () => localScratch(nodeFileSystem),
}

describe.each(Object.entries(places))('what a machine keeps %s', (_, make) => {
  test('gives work directories that are gone afterwards', async () => {
    const local = make()
    const one = await local.workDirectory()
    const two = await local.workDirectory()
    expect(one.path).not.toBe(two.path)
    writeFileSync(join(one.path, 'x'), 'x')
    await one.discard()
    expect(existsSync(one.path)).toBe(false)
    expect(existsSync(two.path)).toBe(true)
    await two.discard()
    expect(existsSync(two.path)).toBe(false)
    await local.close()
  })
})
