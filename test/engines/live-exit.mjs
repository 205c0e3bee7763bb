// A process that changes a live engine and ends without closing it.
import { openEngine } from '../../dist/engines/live.js'

const live = await openEngine(
  process.argv[2],
  {
    name: 'list',
    layout: 1,
    options: {},
    save: (list) => ({ blobs: { list: JSON.stringify(list) }, captured: true }),
    restore: async (saved) => JSON.parse(await saved.blob('list').text()),
  },
  { create: () => [], apply: (list, item) => list.push(item) },
)
await live.change('kelp')
console.log(JSON.stringify(live.engine))
process.exit()
