// A service: restores its counter, counts on and saves often, and flushes on SIGTERM. Says what it restored, and each
// save.

import { autosave } from '../../dist/engines/autosave.js'
import { restoreEngine } from '../../dist/engines/index.js'

const [path] = process.argv.slice(2)

const adapter = {
  name: 'counter',
  layout: 1,
  options: {},
  save: ({ count }) => ({ blobs: { count: `${count}` } }),
  restore: async (saved) => ({ count: Number(await saved.blob('count').text()) }),
}

const restored = await restoreEngine(path, adapter)
const engine = restored?.engine ?? { count: 0 }
console.log(`serves ${engine.count}`)
const saver = autosave(path, adapter, engine, {
  restored,
  everyMs: 50,
  quietMs: 1,
  quietLimitMs: 50,
  keepLast: 100,
  signals: ['SIGTERM'],
  onSave: ({ sequence }) => console.log(`saved ${sequence}`),
  onError: (error) => console.log(`stopped ${error.code}`),
})
setInterval(() => {
  engine.count += 1
  saver.changed()
}, 5)
