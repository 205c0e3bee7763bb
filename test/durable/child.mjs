// Another process that writes durable files, for tests of what happens when it is killed. Runs from dist/, since Node
// 20 cannot run TypeScript. Prints `ready` when it is in the middle of what it was told to do.
import { writeFileSync } from 'node:fs'
import { writeFileDurable } from '../../dist/durable.js'

const [, , command, path, count] = process.argv

function ready() {
  console.log('ready')
  return new Promise((resolve) => process.stdin.once('data', resolve))
}

switch (command) {
  case 'stream':
    await writeFileDurable(
      path,
      (async function* () {
        yield 'x'.repeat(500_000)
        await ready()
        yield 'end'
      })(),
    )
    break
  case 'save':
    await writeFileDurable(
      path,
      async (tempPath) => {
        writeFileSync(tempPath, 'half')
        writeFileSync(`${tempPath}-journal`, 'journal')
        await ready()
        writeFileSync(tempPath, 'whole')
      },
      { extraFiles: 'remove' },
    )
    break
  case 'overwrite': {
    // Each content is one letter, its length depends on the letter: a mixture or a part is seen.
    process.stdin.resume()
    console.log('ready')
    for (let round = 0; round < Number(count); round += 1) {
      const letter = round % 26
      const content = String.fromCharCode(97 + letter).repeat(20_000 + letter)
      await (round % 2 === 0
        ? writeFileDurable(path, content)
        : writeFileDurable(path, (tempPath) => writeFileSync(tempPath, content)))
    }
    break
  }
  default:
    throw new Error(`unknown command ${command}`)
}
console.log('done')
process.exit(0)
