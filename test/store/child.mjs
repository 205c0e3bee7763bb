// Another process that works in the same store. `child.mjs <store> <what> …`; says a line when it is where it should
// be, and goes on when told to.
import { once } from 'node:events'
import { openStore } from '../../dist/index.js'

const [, , path, what, ...args] = process.argv
const told = () => once(process.stdin, 'data')

switch (what) {
  // Persists so many snapshots, each saying who made it.
  case 'many': {
    const [name, count] = args
    const store = await openStore(path, { keepLast: 1000 })
    console.log('ready')
    await told()
    for (let i = 1; i <= Number(count); i++) {
      const { sequence } = await store.persist({ blobs: { who: `${name} ${i}` }, message: `${name} ${i}` })
      console.log(sequence)
    }
    break
  }
  // Holds the writer lock in the middle of a persist, until told to finish.
  case 'hold': {
    const store = await openStore(path)
    async function* source() {
      yield Buffer.from('from the ')
      console.log('holding')
      await told()
      yield Buffer.from('child')
    }
    const { sequence } = await store.persist({ blobs: { who: source() } })
    console.log(sequence)
    break
  }
  // Lays out a blob as a file, and uses it until told to stop.
  case 'file': {
    const store = await openStore(path)
    const snapshot = await store.load()
    console.log('ready')
    await told()
    console.log(await snapshot.blob(args[0]).file())
    await told()
    await snapshot.dispose()
    break
  }
}
process.stdin.destroy()
