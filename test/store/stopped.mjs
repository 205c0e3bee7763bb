// Persists, and stops itself (SIGSTOP) before one operation on the disk. For each line `<store> <operation>` that it is
// told, says where it stops, and, once it was continued, how the persist ended.
import { writeSync } from 'node:fs'
import { createInterface } from 'node:readline'
import { nodeFileSystem } from '../dist/fs/node.js'
import { localBesideStore } from '../dist/local/local.js'
import { directoryStorage } from '../dist/storage/directory/storage.js'
import { createStore } from '../dist/store.js'

const say = (what) => writeSync(1, `${JSON.stringify(what)}\n`)

/** Calls `before` with each operation; the wait for the signal to arrive is its own. */
function watched(target, path, before) {
  return new Proxy(target, {
    get(_, name) {
      const method = target[name]
      if (typeof method !== 'function' || name === 'closeSync') return method
      if (name === 'tryLock') return (mode) => method.call(target, mode)
      return async (...args) => {
        before(path === null ? name : `file.${name}`, path ?? args[0], name === 'rename' ? args[1] : undefined)
        const result = await method.apply(target, args)
        return name === 'open' || name === 'openDirectory' ? watched(result, args[0], before) : result
      }
    },
  })
}

for await (const line of createInterface({ input: process.stdin })) {
  const [path, stopAt] = line.split(' ')
  let operations = 0
  const fs = watched(nodeFileSystem, null, (name, at, to) => {
    if (operations++ !== Number(stopAt)) return
    say({ stopping: name, path: at, to })
    process.kill(process.pid, 'SIGSTOP')
  })
  const storage = directoryStorage({ fs, path, readOnly: false, lock: 'os' })
  const local = localBesideStore({ fs, directory: path, lock: true, readOnly: false })
  const store = createStore({ storage, fs, local }, { keepLast: 1, onWarning: () => {} })
  try {
    const { sequence } = await store.persist({ blobs: { who: Buffer.alloc(2_000, 'child'), more: 'child' } })
    say({ sequence })
  } catch (error) {
    say({ error: error.code ?? String(error.stack), message: error.message })
  }
}
