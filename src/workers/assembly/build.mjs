// Makes `../generated.ts`: the chunker's WebAssembly and the worker's source as strings, so that they survive bundling.
//   node src/workers/assembly/build.mjs

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import asc from 'assemblyscript/asc'
import { build } from 'esbuild'

const here = fileURLToPath(new URL('.', import.meta.url))
const out = mkdtempSync(join(tmpdir(), 'holdfast-wasm-'))
try {
  const { error, stderr } = await asc.main([
    join(here, 'gear.ts'),
    ...['--outFile', join(out, 'gear.wasm')],
    ...['-O3', '--noAssert', '--runtime', 'stub'],
    ...['--importMemory', '--sharedMemory', '--initialMemory', '1', '--maximumMemory', '65536', '--enable', 'threads'],
  ])
  if (error) throw new Error(String(stderr), { cause: error })
  const bundled = await build({
    entryPoints: [join(here, '../worker.ts')],
    bundle: true,
    write: false,
    minify: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
  })
  const wasm = readFileSync(join(out, 'gear.wasm')).toString('base64')
  writeFileSync(
    join(here, '../generated.ts'),
    `// Made by assembly/build.mjs from assembly/gear.ts and worker.ts. Do not edit.

export const GEAR_WASM =
  '${wasm}'

export const WORKER_SOURCE = ${JSON.stringify(bundled.outputFiles[0].text.trim())}
`,
  )
} finally {
  rmSync(out, { recursive: true })
}
