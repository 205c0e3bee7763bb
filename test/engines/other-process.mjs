// Another process that saves to the store, as a second worker of a cluster does.
import { persistEngine } from '../../dist/engines/index.js'

const counter = {
  name: 'counter',
  layout: 1,
  options: {},
  save: ({ count }) => ({ blobs: { count: `${count}` } }),
  restore: async (saved) => ({ count: Number(await saved.blob('count').text()) }),
}
await persistEngine(process.argv[2], counter, { count: Number(process.argv[3]) })
