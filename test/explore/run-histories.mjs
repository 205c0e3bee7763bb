// `npm run test:histories`: histories of a simulated object store (object-histories.ts), in a process for each
// processor. It says how many a second, and of one that goes wrong its seed and what does not hold.
//
//   node test/explore/run-histories.mjs [count] [first seed]

import { fork } from 'node:child_process'
import { availableParallelism } from 'node:os'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'

const COUNT = 200_000
/** A process reports after so many. */
const PART = 100

const here = fileURLToPath(new URL('.', import.meta.url))
// Beside the sources, so that packages are found from there.
const bundle = fileURLToPath(new URL('../dist/object-histories.mjs', import.meta.url))

async function child(first, step, end) {
  const { runHistory } = await import(bundle)
  for (let from = first; from < end; from += step * PART) {
    const sums = {
      histories: 0,
      acknowledged: 0,
      unknown: 0,
      reads: 0,
      deletedPacks: 0,
      rewrittenPacks: 0,
      conflicts: 0,
      steps: 0,
    }
    for (let seed = from; seed < end && seed < from + step * PART; seed += step) {
      try {
        const history = await runHistory(seed)
        sums.histories += 1
        for (const [name, value] of Object.entries(history)) sums[name] += value
      } catch (error) {
        process.send({ failed: seed, why: error.stack })
      }
    }
    process.send(sums)
  }
  process.disconnect()
}

async function main() {
  const count = Number(process.argv[2] ?? process.env.HOLDFAST_HISTORIES ?? COUNT)
  const first = Number(process.argv[3] ?? Math.floor(Math.random() * 2 ** 30))
  await build({
    entryPoints: [`${here}object-histories.ts`],
    outfile: bundle,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
    logLevel: 'warning',
  })
  const processes = Math.max(1, Math.min(availableParallelism(), Math.ceil(count / PART)))
  process.stdout.write(`${count} histories from seed ${first} on, in ${processes} processes\n`)
  const sums = {}
  const failures = []
  const begun = performance.now()
  let told = begun
  const ended = Array.from({ length: processes }, (_, n) => {
    const worker = fork(fileURLToPath(import.meta.url), ['--child', first + n, processes, first + count], {
      execArgv: ['--max-semi-space-size=64'],
    })
    worker.on('message', (message) => {
      if ('failed' in message) {
        failures.push(message.failed)
        process.stdout.write(`seed ${message.failed}: ${message.why}\n`)
        return
      }
      for (const [name, value] of Object.entries(message)) sums[name] = (sums[name] ?? 0) + value
      const now = performance.now()
      if (now - told < 60_000) return
      told = now
      process.stdout.write(`${sums.histories} done, ${perSecond(sums.histories, begun)} a second\n`)
    })
    return new Promise((resolve) => worker.on('exit', resolve))
  })
  const codes = await Promise.all(ended)
  const line = Object.entries(sums).map(([name, value]) => `${value} ${name}`)
  process.stdout.write(`${line.join(', ')}; ${perSecond(sums.histories ?? 0, begun)} a second\n`)
  if (failures.length > 0) process.stdout.write(`${failures.length} went wrong: ${failures.join(', ')}\n`)
  if (failures.length > 0 || codes.some((code) => code !== 0) || sums.histories !== count) process.exitCode = 1
}

function perSecond(histories, begun) {
  return (histories / ((performance.now() - begun) / 1000)).toFixed(1)
}

if (process.argv[2] === '--child') await child(...process.argv.slice(3).map(Number))
else await main()
