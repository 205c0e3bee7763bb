// A store through many persists with daily retention, on a simulated clock. Writes bench/lifetime.json;
// docs/pictures/lifetime.mjs draws it.
//   node bench/lifetime.mjs [persists [directory]]      10,000 persists by default; a run in the same directory goes on where one before it ended
//   node bench/lifetime.mjs heads                       what many kept snapshots cost
//
// 50 blobs of 1 MiB in pages of 16 KiB. Each persist changes 4 pages in each of 2 blobs, an hour after the one before.
// Every twentieth time the garbage is given back as an open store does by itself. Without a directory, it is one among
// the system's temporary files that is removed in the end.

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { runBundled } from './bundle.mjs'

const output = fileURLToPath(new URL('lifetime.json', import.meta.url))
const [, , persists = '10000', given] = process.argv
if (persists === 'heads') process.exitCode = await runBundled('heads.ts', [output, 'heads'])
else {
  const directory = given ?? mkdtempSync(join(tmpdir(), 'holdfast-lifetime-'))
  process.exitCode = await runBundled('lifetime.ts', [output, directory, persists])
  if (given === undefined) rmSync(directory, { recursive: true, force: true })
}
