import { join } from 'node:path'
import { expect, test } from 'vitest'
import { persistSnapshot } from '../../src/index.ts'
import { scratch } from '../support/scratch.ts'
import { holdfast } from './holdfast.ts'

test('doctor judges the place, says each fact once, and sends who has a store there to verify', async () => {
  const store = join(scratch(), 'store')
  const before = await holdfast(['doctor', '-s', store])
  await persistSnapshot(store, { blobs: { a: 'one' } })
  const after = await holdfast(['doctor', '-s', store])
  const text = (run: typeof before): string => run.stdout + run.stderr
  expect(text(before)).toContain(`directory: ${store} does not exist yet`)
  expect(text(before)).not.toContain('holdfast verify')
  expect(text(after)).toContain('"holdfast verify" checks the store in it.')
  for (const fact of [store, ' are free', 'directory: it exists']) expect(text(after).split(fact)).toHaveLength(2)
})
