// A process that changes a live engine for as long as it lives. It says which changes it found, and then each one that
// was acknowledged.
import { writeSync } from 'node:fs'
import { openEngine } from '../../dist/engines/live.js'

const [, , path, saveEvery] = process.argv

const adapter = {
  name: 'ledger',
  layout: 1,
  options: {},
  revision: ({ applied }) => applied.length,
  save: ({ applied }) => ({ blobs: { applied: JSON.stringify(applied) }, captured: true }),
  restore: async (saved) => ({ applied: JSON.parse(await saved.blob('applied').text()) }),
}

const live = await openEngine(path, adapter, {
  create: () => ({ applied: [] }),
  apply: (engine, { add }) => void engine.applied.push(add),
  lockWaitMs: 10_000,
  quietMs: 0,
  onError() {},
})
const { applied } = live.engine
const wrong = applied.findIndex((add, i) => add !== i + 1)
writeSync(1, `found ${wrong === -1 ? applied.length : `${applied[wrong]} at ${wrong}`}\n`)

for (;;) {
  const under = []
  for (let i = 0; i < 8; i++) under.push(live.change({ add: live.engine.applied.length + 1 }))
  const last = live.engine.applied.length
  await Promise.all(under)
  writeSync(1, `durable ${last}\n`)
  if (last % Number(saveEvery) === 0) await live.save()
}
