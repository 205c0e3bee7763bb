// The measurements of the engine adapters: `npm run bench:engines`. See main.ts.
import { runBundled } from '../bundle.mjs'

process.exitCode = await runBundled('adapters/main.ts', process.argv.slice(2))
