// A user without rights, where the test itself may be root: everything is loaded first, then the rights are given up.
import { join } from 'node:path'
import { writeFileDurable } from '../dist/durable.js'
import { locksAvailable } from '../dist/fs/lock.js'
import { loadSnapshot, memory, persistSnapshot } from '../dist/index.js'

const [, , path] = process.argv

// The lock addon and the hash are loaded at their first use, perhaps from where only root may read.
locksAvailable()
const warm = memory()
await warm.persist({ blobs: { a: new Uint8Array(10) } })
await warm.close()
if (process.geteuid() === 0) {
  process.setgroups([])
  process.setgid(65534)
  process.setuid(65534)
}

async function loads(options) {
  const snapshot = await loadSnapshot(path, { required: true, ...options })
  await snapshot.blob('index').bytes()
  await snapshot.dispose()
  return true
}

async function outcome(promise) {
  try {
    await promise
    return 'written'
  } catch (error) {
    return { code: error.code, systemCode: error.details?.code }
  }
}

const result = {
  uid: process.geteuid(),
  loads: await loads({}),
  readOnlyLoads: await loads({ readOnly: true }),
  persist: await outcome(persistSnapshot(path, { blobs: { index: new Uint8Array(300_000).fill(7) } })),
  durable: await outcome(writeFileDurable(join(path, 'config.json'), '{}')),
}
console.log(JSON.stringify(result))
