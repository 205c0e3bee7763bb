// Standard input as a source, where a verb takes `-` for it.

import { fstatSync } from 'node:fs'
import { Refusal } from './failure.ts'

/** Told before a store is made or locked. @throws SOURCE_FAILED for a directory, which Node reads as nothing */
export function standardInput(): AsyncIterable<Uint8Array> {
  if (isDirectory()) {
    throw new Refusal(
      'SOURCE_FAILED',
      'input',
      'standard input is a directory: redirect a file, or pipe a command into it',
      {
        details: { path: '-' },
      },
    )
  }
  return process.stdin
}

function isDirectory(): boolean {
  try {
    return fstatSync(0).isDirectory()
  } catch {
    // It is closed: reading it says so.
    return false
  }
}
