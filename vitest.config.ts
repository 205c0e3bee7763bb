import { defineConfig } from 'vitest/config'

// `npm test` takes a sample of the large spaces, `npm run test:full` all of them, and `npm run test:slow` what takes
// hours on them (large blobs, many seeds). See test/support/effort.ts.
const slow = process.env.HOLDFAST_SLOW === '1'
const effort = process.env.HOLDFAST_EFFORT || (slow ? 'full' : 'quick')
const isFull = effort === 'full' || Number(effort) === 1
/** `npm run test:s3` starts one. */
const withServer = process.env.HOLDFAST_S3_ENDPOINT !== undefined
/** One for all projects: each evaluates this file anew. */
process.env.HOLDFAST_SEED ||= String(Math.floor(Math.random() * 2 ** 31))
const seed = process.env.HOLDFAST_SEED

/**
 * What is run by `npm run test:full` alone: builds, installs, servers, hundreds of processes, and what takes seconds to
 * find what quicker tests are likely to find. Of killed processes and failing calls the quick run has
 * test/explore/killed.test.ts, crash-persist.test.ts and faults.test.ts; of the program process and round-trip; of the
 * package smoke.test.ts.
 */
const fullOnly = [
  'test/blocks/many-blocks.test.ts',
  'test/blocks/link-cache.test.ts',
  'test/car/round-trip.test.ts',
  'test/cli/bucket.test.ts',
  'test/cli/car.test.ts',
  'test/cli/cron.test.ts',
  'test/cli/in-use.test.ts',
  'test/cli/methods.test.ts',
  'test/cli/no-space.test.ts',
  'test/cli/owner.test.ts',
  'test/cli/restore.test.ts',
  'test/cli/space.test.ts',
  'test/cli/states.test.ts',
  'test/cli/terminal.test.ts',
  'test/cli/which-snapshot.test.ts',
  'test/docs/durable.test.ts',
  'test/docs/engines.test.ts',
  'test/docs/operations.test.ts',
  'test/docs/recipes.test.ts',
  'test/docs/run-examples.test.ts',
  'test/examples/**',
  'test/explore/crash-history.test.ts',
  'test/explore/crash-repair.test.ts',
  'test/explore/failing-calls.test.ts',
  'test/explore/faulty-reads.test.ts',
  'test/explore/kills.test.ts',
  'test/explore/live-kills.test.ts',
  'test/explore/lying-zstd/**',
  'test/explore/machines.test.ts',
  'test/explore/object-histories.test.ts',
  'test/explore/process-death.test.ts',
  'test/explore/repair-steps.test.ts',
  'test/explore/storm.test.ts',
  'test/history/clock.test.ts',
  'test/load/readers.test.ts',
  'test/load/segments.test.ts',
  'test/package/oldest-typescript.test.ts',
  'test/package/package.test.ts',
  'test/performance/**',
  'test/persist/incremental-segments.test.ts',
  'test/persist/mutated-source.test.ts',
  'test/recovery/real-files.test.ts',
  'test/report/browser.test.ts',
  'test/storage/cached.test.ts',
  'test/storage/full-disk.test.ts',
  'test/store/any-history.test.ts',
  'test/store/concurrent-*.test.ts',
  'test/store/growth.test.ts',
  'test/store/leftovers.test.ts',
  'test/store/many-blobs.test.ts',
  'test/store/stopped-writer.test.ts',
  'test/workers/copies/**',
  'test/workers/generated.test.ts',
  'test/workers/limits/**',
  'test/workers/pool.test.ts',
]

/** Files of these folders share the modules of holdfast, which saves a quarter of the time. */
const sharing = [
  'blocks',
  'car',
  'encodings',
  'format',
  'gc',
  'history',
  'journal',
  'load',
  'persist',
  'recovery',
  'report',
  'space',
  'store',
]
/** But these put others in the place of modules, or test what a process does once. */
const replacing = [
  'test/format/blake3.test.ts',
  'test/format/compression.test.ts',
  'test/format/decoder.test.ts',
  'test/space/housekeeping.test.ts',
  'test/load/follow.test.ts',
  'test/load/readers.test.ts',
  'test/persist/compression.test.ts',
  'test/persist/incremental.test.ts',
]
const left = slow ? [] : ['test/slow/**', ...(isFull ? [] : fullOnly), ...(withServer ? [] : ['test/s3/server/**'])]

export default defineConfig({
  test: {
    env: { HOLDFAST_EFFORT: effort, HOLDFAST_SEED: seed },
    globalSetup: ['test/support/announce.ts', ...(withServer ? ['test/s3/make-bucket.ts'] : [])],
    setupFiles: ['test/support/equal-bytes.ts'],
    // A hang, and not a machine that has more to do: that may take ten times as long.
    testTimeout: slow ? 1_800_000 : 300_000,
    hookTimeout: 300_000,
    pool: 'forks',
    // Vitest itself would leave one of two processors idle.
    maxWorkers: 2,
    projects: slow
      ? [{ extends: true, test: { name: 'slow', include: ['test/slow/**/*.test.ts'] } }]
      : [
          {
            extends: true,
            test: {
              name: 'alone',
              include: ['test/*.test.ts', `test/!(${sharing.join('|')})/**/*.test.ts`, ...replacing],
              exclude: left,
            },
          },
          {
            extends: true,
            test: {
              name: 'shared',
              include: sharing.map((folder) => `test/${folder}/**/*.test.ts`),
              exclude: [...left, ...replacing],
              isolate: false,
            },
          },
        ],
  },
})
