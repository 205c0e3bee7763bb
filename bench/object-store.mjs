// Runs object-store.ts, or object-generations.ts for `generations`, on an S3-compatible server.
import { runBundled } from './bundle.mjs'

const [kind, ...rest] = process.argv.slice(2)
process.exitCode =
  kind === 'generations'
    ? await runBundled('object-generations.ts', rest)
    : await runBundled('object-store.ts', process.argv.slice(2))
