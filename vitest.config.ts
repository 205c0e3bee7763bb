import { defineConfig } from 'vitest/config'

// `npm test` takes a sample of the large spaces, `npm run test:full` all of them, and `npm run test:slow` what takes hours on them (large
// blobs, many seeds). See test/support/effort.ts.
const slow = process.env.HOLDFAST_SLOW === '1'
const effort = process.env.HOLDFAST_EFFORT || (slow ? 'full' : 'quick')
const isFull = effort === 'full' || Number(effort) === 1
/**
 * Builds, installs, servers and hundreds of processes. The quick run has test/package/smoke.test.ts, and of the program process, round-trip,
 * restore and space in their place.
 */
const fullOnly = [
  'test/examples/**',
  'test/package/package.test.ts',
  'test/package/oldest-typescript.test.ts',
  'test/cli/cron.test.ts',
  'test/cli/owner.test.ts',
  'test/cli/states.test.ts',
  'test/cli/terminal.test.ts',
  'test/report/browser.test.ts',
]
/** `npm run test:s3` starts one. */
const withServer = process.env.HOLDFAST_S3_ENDPOINT !== undefined
const seed = process.env.HOLDFAST_SEED || String(Math.floor(Math.random() * 2 ** 31))

export default defineConfig({
  test: {
    include: slow ? ['test/slow/**/*.test.ts'] : ['test/**/*.test.ts'],
    exclude: slow ? [] : ['test/slow/**', ...(isFull ? [] : fullOnly), ...(withServer ? [] : ['test/s3/server/**'])],
    env: { HOLDFAST_EFFORT: effort, HOLDFAST_SEED: seed },
    globalSetup: ['test/support/announce.ts', ...(withServer ? ['test/s3/make-bucket.ts'] : [])],
    // A hang, and not a machine that has more to do: that may take ten times as long.
    testTimeout: slow ? 1_800_000 : 300_000,
    hookTimeout: 300_000,
    pool: 'forks',
    // Vitest itself would leave one of two processors idle.
    maxWorkers: 2,
  },
})
