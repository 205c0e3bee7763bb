import { defineConfig } from 'vitest/config'

// `npm test` runs what ends in minutes; `npm run test:slow` the rest (large blobs, long storms).
const slow = process.env.HOLDFAST_SLOW === '1'

export default defineConfig({
  test: {
    include: slow ? ['test/slow/**/*.test.ts'] : ['test/**/*.test.ts'],
    exclude: slow ? [] : ['test/slow/**'],
    testTimeout: slow ? 1_800_000 : 60_000,
    hookTimeout: 60_000,
    pool: 'forks',
  },
})
