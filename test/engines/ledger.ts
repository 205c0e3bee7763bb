// An engine that shows each change that was applied, and how often, for the tests of live engines; and disks for it
// that end with the test.

import { onTestFinished } from 'vitest'
import type { EngineAdapter } from '../../src/engines/adapter.ts'
import { createDisk, type Disk } from '../faulty-disk/disk.ts'

export interface Ledger {
  applied: number[]
}

export type Change = { add: number }

export const ledger: EngineAdapter<Ledger> = {
  name: 'ledger',
  layout: 1,
  options: {},
  revision: ({ applied }) => applied.length,
  save: ({ applied }) => ({ blobs: { applied: JSON.stringify(applied) }, captured: true }),
  restore: async (saved) => ({ applied: JSON.parse(await saved.blob('applied').text()) as number[] }),
}

/** A disk that is killed when the test has ended. */
export function disk(): Disk {
  const made = createDisk()
  onTestFinished(() => made.kill())
  return made
}
