// The benchmarks: `npm run bench`. See main.ts.
import { runBundled } from './bundle.mjs'

process.exitCode = await runBundled('main.ts', process.argv.slice(2))
