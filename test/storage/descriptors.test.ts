import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'
import { skip } from '../support/mounted.ts'
import { scratch } from '../support/scratch.ts'

const child = fileURLToPath(new URL('descriptors.mjs', import.meta.url))

describe('with hardly a file descriptor left', () => {
  test('persist, load and a durable write are done or say EMFILE, lose nothing, and leak none', (context) => {
    if (process.platform !== 'linux') skip(context, 'counts descriptors in /proc')
    const path = join(scratch(), 'store')
    const { status, stdout, stderr } = spawnSync(
      '/bin/sh',
      ['-c', 'ulimit -n 256 && exec "$0" "$@"', process.execPath, child, path],
      { encoding: 'utf8', timeout: 250_000 },
    )
    expect([stderr, status]).toEqual(['', 0])
    const { seen, leaked } = JSON.parse(stdout) as { seen: Record<string, string[]>; leaked: number }
    for (const [what, outcomes] of Object.entries(seen)) {
      // From not at all to done, so that every place in between was met.
      expect([what, outcomes[0], outcomes.at(-1)]).toEqual([what, 'IO_FAILED', 'done'])
    }
    expect(leaked).toBeLessThanOrEqual(0)
  })
})
