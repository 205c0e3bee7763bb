// Run under Node's permission model by permission.test.ts: tries each call that writes, and prints how it fails.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { quarantine, writeFileDurable } from '../../dist/durable.js'
import { persistEngine } from '../../dist/engines/index.js'
import { plain } from '../../dist/engines/plain.js'
import * as holdfast from '../../dist/index.js'

const [, , path, fresh] = process.argv
const adapter = plain({ name: 'mine', save: () => 'x', restore: () => ({}) })
const store = await holdfast.openStore(path)
const snapshot = await store.load()
const answers = { load: await snapshot.blob('a').text() }
for (const [name, call] of Object.entries({
  persist: () => store.persist({ blobs: { a: 'b' } }),
  'persist without locks': () => holdfast.persistSnapshot(path, { blobs: { a: 'b' }, lock: 'none' }),
  'persist into a new directory': () => holdfast.persistSnapshot(join(fresh, 'store'), { blobs: { a: 'b' } }),
  persistEngine: () => persistEngine(store, adapter, {}),
  tag: () => store.tag('x'),
  rollback: () => store.rollback(1),
  file: () => snapshot.blob('a').file(),
  writeTo: () => snapshot.blob('a').writeTo(join(fresh, 'out')),
  'writeTo of a directory': () => snapshot.directory('d').writeTo(join(fresh, 'out')),
  writeFileDurable: () => writeFileDurable(join(fresh, 'out'), 'x'),
  quarantine: () => {
    mkdirSync(join(fresh, 'doubtful'))
    return quarantine(join(fresh, 'doubtful'), { reason: 'test' })
  },
  setAside: () => holdfast.setAside(path, { reason: 'test' }),
})) {
  try {
    answers[name] = `${await call()}`
  } catch (error) {
    answers[name] = holdfast.isHoldfastError(error) ? `${error.code} ${error.message}` : `raw ${error.stack}`
  }
}
console.log(JSON.stringify(answers))
process.exit()
