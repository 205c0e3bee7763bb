// The saves of a series in one file, for another process.

import { readFileSync, writeFileSync } from 'node:fs'

/** All saves of a series in one file, lengths first: for another process. */
export function writeGenerations(file: string, saves: readonly Uint8Array[]): void {
  writeFileSync(file, Buffer.concat([Buffer.from(`${JSON.stringify(saves.map(({ length }) => length))}\n`), ...saves]))
}

export function generations(file: string): Uint8Array[] {
  const bytes = readFileSync(file)
  let at = bytes.indexOf('\n') + 1
  return (JSON.parse(bytes.toString('utf8', 0, at)) as number[]).map((length) => {
    at += length
    return bytes.subarray(at - length, at)
  })
}
