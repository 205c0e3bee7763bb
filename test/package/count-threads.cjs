// Loaded before a program, with --require: says at its end how many worker threads it started.
const threads = require('node:worker_threads')
const { syncBuiltinESMExports } = require('node:module')

let count = 0
threads.Worker = class extends threads.Worker {
  constructor(...options) {
    super(...options)
    count += 1
  }
}
syncBuiltinESMExports()
process.on('exit', () => console.error(`${count} threads`))
