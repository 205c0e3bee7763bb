// Writes the JSON files beside it. They are committed; tests compare the code with them and never run this. Run it by
// hand, with a Node that strips types (22.18 or later) and the `zstd` program, after a *deliberate* change of the
// format:
//
//    node test/vectors/make.ts
//
// and then read the diff: every line of it is a store somewhere that can no longer be read.

import { execFileSync } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { blake3 } from '../../src/format/blake3.ts'
import { content, fixed } from '../../src/format/chunking.ts'
import { zstdIsNative } from '../../src/format/codec.ts'
import { compressBlock } from '../../src/format/compress.ts'
import { toHex } from '../../src/format/hex.ts'
import {
  chunkingVector,
  dagVector,
  frameInput,
  jsonVector,
  listVector,
  packVector,
  recordVector,
  type ZstdVector,
} from './compute.ts'
import { journalVector } from './compute-journal.ts'

function write(name: string, vector: unknown): void {
  writeFileSync(new URL(name, import.meta.url), `${JSON.stringify(vector, null, 2)}\n`)
}

function zstdVector(): ZstdVector {
  if (!zstdIsNative) throw new Error('this Node has no zstd: use 22.15 or later')
  const frames: ZstdVector['frames'] = []
  for (const input of ['squares', 'lines', 'zeros', 'noise'] as const) {
    const raw = frameInput(input)
    const add = (by: string, frame: Uint8Array): void => {
      frames.push({ by, input, rawLength: raw.length, digest: toHex(blake3(raw)), frame: toHex(frame) })
    }
    for (const options of [['-1'], ['-19', '--no-check'], ['-3', '--check']]) {
      const out = execFileSync('zstd', [...options, '--stdout', '--content-size', `--stream-size=${raw.length}`], {
        input: raw,
      })
      add(`zstd ${options.join(' ')}`, out)
    }
    const own = compressBlock(raw)
    if (own !== null) add('compressBlock', own)
  }
  return {
    inputs:
      'squares: the decimal squares of 0 to 999 joined by commas. lines: "line " and i % 97 and newline, for i from 0 to 39999. zeros: 300,000 zero bytes. noise: pattern(2000, 8), see chunking.json.',
    frames,
  }
}

write(
  'chunking.json',
  chunkingVector([
    content({ averageBytes: 4096 }),
    content(),
    content({ averageBytes: 65_536 }),
    fixed(512),
    fixed(1000),
  ]),
)
write('dag.json', dagVector())
write('records.json', recordVector())
write('blob-list.json', listVector())
write('pack.json', packVector())
write('json-files.json', jsonVector())
write('journal.json', journalVector())
write('zstd.json', zstdVector())
