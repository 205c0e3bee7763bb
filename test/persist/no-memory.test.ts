// A process that may not have the memory for WebAssembly: a persist does without compression, and comes to an end.

import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { scratch } from '../support/storages.ts'

const dist = new URL('../../dist/index.js', import.meta.url).href

const script = `
const { persistSnapshot, loadSnapshot } = await import(${JSON.stringify(dist)})
const text = 'a few words '.repeat(100_000)
const { bytes } = await persistSnapshot(process.argv[1], { blobs: { text } })
const snapshot = await loadSnapshot(process.argv[1])
console.log(JSON.stringify({ ...bytes, same: (await snapshot.blob('text').text()) === text }))
`

test.skipIf(process.platform !== 'linux')(
  'where virtual memory is limited, a persist ends, and reads back',
  async () => {
    const store = join(scratch(), 'store')
    const node = [process.execPath, '--input-type=module', '-e', script, store]
    // A WebAssembly memory reserves 8 GiB and more of addresses.
    const command = `ulimit -v 6000000; exec "$@"`
    const { stdout } = await promisify(execFile)('bash', ['-c', command, 'limited', ...node], { timeout: 50_000 })
    expect(JSON.parse(stdout)).toMatchObject({ same: true })
  },
)

test('where WebAssembly is switched off, a persist ends, and reads back', async () => {
  const store = join(scratch(), 'store')
  const without = `delete globalThis.WebAssembly\n${script}`
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', without, store], {
    timeout: 50_000,
    cwd: fileURLToPath(new URL('../../', import.meta.url)),
  })
  expect(JSON.parse(stdout)).toMatchObject({ same: true })
})
