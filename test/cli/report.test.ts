// Which files a report may replace.

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import type { Session } from '../../src/cli/session.ts'
import { report } from '../../src/cli/verbs/report.ts'
import { memory } from '../../src/index.ts'
import { scratch } from '../support/scratch.ts'

test('it replaces another report, and no other file', async () => {
  const directory = scratch()
  const [page, other, short] = ['page', 'other', 'short'].map((name) => join(directory, name))
  await using store = memory()
  const session = { location: join(directory, 'store'), read: async () => store } as unknown as Session
  const write = (output: string) => report.run(session, [], { output })
  await write(page!)
  await store.persist({ blobs: { a: 'x' } })
  await write(page!)
  expect(readFileSync(page!, 'utf8')).toContain('Snapshot 1')
  writeFileSync(other!, '<!doctype html>\n<!-- somebody else -->\n<p>precious')
  writeFileSync(short!, '<!doc')
  for (const path of [other!, short!, directory])
    await expect(write(path)).rejects.toMatchObject({ code: 'TARGET_EXISTS' })
  expect(readFileSync(other!, 'utf8')).toContain('precious')
})
