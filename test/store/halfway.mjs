// Gets half-way through something and stays there until it is killed. `halfway.mjs <store> <what>`.
import { readdirSync, writeFileSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { openStore } from '../../dist/index.js'

const [, , path, what] = process.argv
const store = await openStore(path)
const forever = new Promise(() => setInterval(() => {}, 1_000))

switch (what) {
  case 'stream': {
    async function* source() {
      // Until some of it is in a pack; then there is a file for the next HEAD too, and a second name of the old one.
      for (let i = 1; readdirSync(join(path, 'tmp')).length < 3; i++) yield Buffer.alloc(2 * 1024 * 1024, i)
      console.log('half-way')
      await forever
    }
    await store.persist({ blobs: { streamed: source() } })
    break
  }
  case 'save': {
    await store.persist({
      blobs: {
        async saved(target) {
          writeFileSync(target, 'half of it')
          writeFileSync(`${target}.sidecar`, 'more')
          console.log('half-way')
          await forever
        },
      },
    })
    break
  }
  case 'file': {
    const snapshot = await store.load()
    let parts = 0
    await snapshot.blob('large').file({
      onProgress() {
        parts += 1
        if (parts < 3) return
        // Not even its event loop goes on.
        writeSync(1, 'half-way\n')
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
      },
    })
    break
  }
}
