// What one operation on a store takes, measured in a process that has nothing else in its memory. Linux only.

import { execFile } from 'node:child_process'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { filesOf } from '../../support/lab.ts'
import { quickScratch } from '../../support/scratch.ts'
import { baseStores } from './base-stores.ts'

/** Of `measured.mjs`. */
export const OPERATIONS = [
  'snapshots',
  'bytes',
  'stream',
  'fallback',
  'verify',
  'quick',
  'scrub',
  'plan',
  'repair',
  'persist',
] as const

export interface Measured {
  /** `ok`, or the code of the error. */
  outcome: string
  /** Of processor time, all threads together. */
  ms: number
  /** At the peak, beyond what the process had before. */
  bytes: number
}

const script = fileURLToPath(new URL('measured.mjs', import.meta.url))

/** Measures operations on one store. `files` are those of the store. */
export async function createMeasure(files: ReadonlyMap<string, Uint8Array>) {
  const soundFiles = filesOf((await baseStores())[1]!.image)
  return {
    fileBytes: [...files.values()].reduce((sum, { length }) => sum + length, 0),
    async measure(operation: (typeof OPERATIONS)[number]): Promise<Measured> {
      const [sound, path] = [quickScratch(), quickScratch()]
      put(sound, soundFiles)
      put(path, files)
      const { stdout } = await promisify(execFile)(process.execPath, [script, path, sound, operation])
      for (const used of [sound, path]) rmSync(used, { recursive: true })
      return JSON.parse(stdout) as Measured
    },
  }
}

function put(directory: string, files: ReadonlyMap<string, Uint8Array>): void {
  for (const [path, bytes] of files) {
    mkdirSync(dirname(join(directory, path)), { recursive: true })
    writeFileSync(join(directory, path), bytes)
  }
}
