// A process that uses an image: `node image-child.mjs <directory> <digest> <size> <ms>`. It says "made" when it begins
// to make it, which takes so many ms, and "has" with the inode once it has it; "nothing" if it gets none.
import { statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { nodeFileSystem } from '../dist/fs/node.js'
import { createImages } from '../dist/local/images.js'

const [directory, digest, size, ms] = process.argv.slice(2)
const images = createImages({ fs: nodeFileSystem, directory, store: null, readOnly: false })
const wanted = Buffer.alloc(Number(size), 7)

const held = await images.use(digest, {
  size: wanted.length,
  async verify(read) {
    const bytes = Buffer.alloc(wanted.length)
    return (await read(bytes, 0)) === bytes.length && bytes.equals(wanted)
  },
  async assemble(home) {
    console.log('made')
    writeFileSync(join(home.path, 'part'), wanted)
    await setTimeout(Number(ms))
    return join(home.path, 'part')
  },
})
console.log(held === null ? 'nothing' : `has ${statSync(held.path).ino}`)
process.stdin.resume()
process.stdin.on('end', () => process.exit(0))
