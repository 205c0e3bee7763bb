import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
// @ts-expect-error: plain JavaScript, which needs no build to run
import { mutations } from './mutations.mjs'

const root = fileURLToPath(new URL('../..', import.meta.url))

test('the mutations fit the sources', () => {
  const list = mutations as { file: string; find: string; replace: string; why: string }[]
  expect(list.length).toBeGreaterThan(80)
  for (const { file, find, replace, why } of list) {
    const places = readFileSync(join(root, file), 'utf8').split(find).length - 1
    expect(places, `${file}: ${why}`).toBe(1)
    expect(replace, why).not.toBe(find)
  }
})
