// The worker's source, as `src/workers/assembly/build.mjs` makes it, with the compressor that lies.

import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const here = fileURLToPath(new URL('.', import.meta.url))

export async function lyingWorker(): Promise<string> {
  const bundled = await build({
    entryPoints: [`${here}/../../../src/workers/worker.ts`],
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    plugins: [
      {
        name: 'lying',
        setup({ onResolve }) {
          onResolve({ filter: /\/codec\.ts$/ }, ({ importer }) =>
            importer.endsWith('/compress.ts') ? { path: `${here}codec.ts` } : undefined,
          )
        },
      },
    ],
  })
  return bundled.outputFiles[0]!.text
}
