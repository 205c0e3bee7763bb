import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'vitest'
import { loadSnapshot, openStore, persistSnapshot } from '../../src/open.ts'
import { noise, sameBytes } from './bytes.ts'

/** Blobs that belong together, of a number: a mixture of two is seen. */
export function contentOf(generation: number, bytes = 200_000): Record<string, Uint8Array> {
  return { index: noise(bytes, generation), ids: noise(1_000 + generation, generation + 1_000_000) }
}

/** The current snapshot is that of `generation`, byte for byte; null: there is none. */
export async function expectLoads(path: string, generation: number | null, bytes?: number): Promise<void> {
  const snapshot = await loadSnapshot(path)
  if (snapshot === null || generation === null) {
    expect([snapshot === null, generation]).toEqual([generation === null, generation])
    return
  }
  try {
    for (const [name, content] of Object.entries(contentOf(generation, bytes))) {
      expect(sameBytes(await snapshot.blob(name).bytes(), content), `${name} of ${generation}`).toBe(true)
    }
    expect(snapshot.names.toSorted()).toEqual(['ids', 'index'])
  } finally {
    await snapshot.dispose()
  }
}

/** What a failure in flight would have left. */
export function temps(path: string): string[] {
  return ['tmp', 'files/.tmp'].flatMap((name) => {
    const directory = join(path, name)
    return existsSync(directory) ? readdirSync(directory).map((entry) => `${name}/${entry}`) : []
  })
}

/** The next persist works, is what a load gives, leaves nothing in flight, and verify finds nothing. */
export async function expectRecovers(path: string, generation: number, bytes?: number): Promise<void> {
  await persistSnapshot(path, { blobs: contentOf(generation, bytes) })
  await expectLoads(path, generation, bytes)
  expect(temps(path)).toEqual([])
  const store = await openStore(path)
  try {
    expect((await store.verify()).problems).toEqual([])
  } finally {
    await store.close()
  }
}
