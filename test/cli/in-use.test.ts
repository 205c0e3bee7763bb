// The command line beside a service that saves all the time.

import { join } from 'node:path'
import { expect, test } from 'vitest'
import { loadSnapshot } from '../../src/index.ts'
import { type Child, start } from '../support/processes.ts'
import { scratch } from '../support/scratch.ts'
import { done } from './holdfast.ts'

async function hearUntil(child: Child, what: RegExp): Promise<string> {
  for (;;) {
    const line = await child.hear()
    if (what.test(line)) return line
  }
}

test('what was rolled back beside a service under load is served after its restart', async () => {
  const store = join(scratch(), 'store')
  const script = new URL('service.mjs', import.meta.url)
  const service = start(script, store)
  await hearUntil(service, /^saved 2$/)
  await done(['tag', 'good', '--at', '2', '-s', store])
  await hearUntil(service, /^saved [5-9]$|^saved \d\d/)
  const { document } = await done(['rollback', 'good', '-s', store, '--json'])
  // The service saw it at its next save, and does not save over it; nor does its flush.
  await hearUntil(service, /^stopped HEAD_CONFLICT$/)
  service.signal('SIGTERM')
  await service.end().catch(() => undefined)

  await using snapshot = await loadSnapshot(store)
  expect(snapshot!.sequence).toBe(document.snapshot.sequence)
  const good = await snapshot!.blob('engine/count').text()
  const again = start(script, store)
  expect(await hearUntil(again, /^serves /)).toBe(`serves ${good}`)
  await hearUntil(again, /^saved /)
  await again.kill()
  await done(['verify', '-s', store])
})
