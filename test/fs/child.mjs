// Another process, for tests of what happens between processes. Runs from test/dist/, since Node 20 cannot run
// TypeScript. Does what it is told, prints one line of JSON, and then holds what it has until it is killed or its stdin
// ends.
import { acquireFileLock } from '../dist/fs/file-lock.js'
import { nodeFileSystem } from '../dist/fs/node.js'
import { createTemp, createWorkDirectory } from '../dist/fs/temps.js'
import { createTurns } from '../dist/fs/turns.js'

const [, , command, path] = process.argv

async function obey() {
  switch (command) {
    case 'temp': {
      const temp = await createTemp(nodeFileSystem, path, { mode: 0o600, lock: true })
      return { path: temp.path, held: temp }
    }
    case 'work': {
      const work = await createWorkDirectory(nodeFileSystem, path, { lock: true })
      return { path: work.path, held: work }
    }
    case 'lock': {
      const hint = Buffer.from(`pid ${process.pid} on here`)
      const lock = await acquireFileLock(nodeFileSystem, path, { mode: 0o600, waitMs: 10_000, hint })
      await lock.hinted
      return { path, held: lock }
    }
    case 'busy': {
      const turns = createTurns()
      const hint = Buffer.from(`pid ${process.pid} on here`)
      const hold = async () => {
        await turns.before(10_000)
        const lock = await acquireFileLock(nodeFileSystem, path, { mode: 0o600, waitMs: 10_000, hint })
        await new Promise((resolve) => setTimeout(resolve, 40))
        await turns.ending(lock)
        await lock.release()
        turns.ended()
      }
      await hold()
      const held = (async () => {
        for (;;) await hold()
      })()
      return { path, held }
    }
    case 'count': {
      // A read-modify-write that loses counts unless the lock excludes the other processes.
      const { readFileSync, writeFileSync } = await import('node:fs')
      for (let round = 0; round < 50; round += 1) {
        const lock = await acquireFileLock(nodeFileSystem, `${path}.lock`, {
          mode: 0o600,
          waitMs: 60_000,
          hint: new Uint8Array(0),
        })
        const count = Number(readFileSync(path, 'utf8'))
        await new Promise((resolve) => setImmediate(resolve))
        writeFileSync(path, String(count + 1))
        await lock.release()
      }
      return { path }
    }
    default:
      throw new Error(`unknown command ${command}`)
  }
}

const result = await obey()
console.log(JSON.stringify({ path: result.path, pid: process.pid }))
if (result.held !== undefined) {
  // Kept reachable: the test kills this process.
  globalThis.held = result.held
  process.stdin.on('end', () => process.exit(0)).resume()
}
