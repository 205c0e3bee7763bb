// The smallest engine: a number, and its adapter.

import type { EngineAdapter } from '../../src/engines/adapter.ts'

export interface Counter {
  count: number
}

export const counter: EngineAdapter<Counter> = {
  name: 'counter',
  layout: 1,
  options: {},
  save: ({ count }) => ({ blobs: { count: `${count}` } }),
  restore: async (saved) => ({ count: Number(await saved.blob('count').text()) }),
}
