// Starts autosave on an engine that changed, and waits for a signal, or ends.
import { autosave } from '../../dist/engines/autosave.js'

const [path, mode] = process.argv.slice(2)

const adapter = {
  name: 'counter',
  layout: 1,
  options: {},
  save: ({ count }) =>
    mode === 'slow'
      ? new Promise((resolve) => setTimeout(() => resolve({ blobs: { count: `${count}` } }), 400))
      : mode === 'stuck'
        ? new Promise(() => setInterval(() => {}, 1000))
        : { blobs: { count: `${count}` } },
  restore: async (saved) => ({ count: Number(await saved.blob('count').text()) }),
}

const saver = autosave(
  path,
  adapter,
  { count: 7 },
  {
    everyMs: 100_000,
    deadlineMs: mode === 'stuck' ? 200 : 10_000,
    onError: () => console.log('failed'),
    ...(['none', 'ends', 'exits', 'closes'].includes(mode) ? {} : { signals: ['SIGTERM', 'SIGINT'] }),
  },
)
saver.changed()
if (mode === 'listener') {
  process.on('SIGINT', () => {
    const wait = setInterval(() => {
      if (saver.lag().changes > 0) return
      clearInterval(wait)
      process.exit(42)
    }, 5)
  })
}
if (mode === 'closes') await saver.close()
if (mode === 'exits') process.exit(0)
if (!['ends', 'closes'].includes(mode)) setInterval(() => {}, 1000)
console.log('ready')
