// Runs `npm test` again and again, each time with another seed, and says which tests did not pass every time. `npm run
// test:repeat -- 10`.
//
//   npm run test:repeat -- [<times>] [--burn <n>] [--effort <effort>] [-- <arguments of vitest>]
//
//   <times>    default 10
//   --burn     so many processes beside it that do nothing but compute: a loaded machine
//   --effort   as HOLDFAST_EFFORT
//
// Exits with 1 when any run failed.
import { spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'

const own = process.argv.slice(2)
const dashes = own.indexOf('--')
const passedOn = dashes === -1 ? [] : own.slice(dashes + 1)
const { values, positionals } = parseArgs({
  args: dashes === -1 ? own : own.slice(0, dashes),
  allowPositionals: true,
  options: { burn: { type: 'string' }, effort: { type: 'string' } },
})
const times = Number(positionals[0] ?? 10)
const directory = mkdtempSync(join(tmpdir(), 'holdfast-repeat-'))
const burners = Array.from({ length: Number(values.burn ?? 0) }, () =>
  spawn(process.execPath, ['-e', 'for (;;);'], { stdio: 'ignore' }),
)

function runOnce(seed, outputFile) {
  const args = ['test', '--silent', '--', '--reporter=json', `--outputFile=${outputFile}`, ...passedOn]
  const env = { ...process.env, HOLDFAST_SEED: String(seed), HOLDFAST_EFFORT: values.effort ?? 'quick' }
  return new Promise((resolve) => {
    let output = ''
    const child = spawn('npm', args, { env, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (output += text))
    child.on('close', (code) => resolve({ code, output }))
  })
}

/** Names of the tests that failed, each with its first message; of a file that did not load, its name. */
function failuresOf(outputFile) {
  const { testResults } = JSON.parse(readFileSync(outputFile, 'utf8'))
  return testResults.flatMap(({ name, status, message, assertionResults }) => {
    const failed = assertionResults.filter((test) => test.status === 'failed')
    if (failed.length === 0 && status === 'failed') return [[name, message]]
    return failed.map(({ fullName, failureMessages }) => [`${name}: ${fullName}`, failureMessages[0]])
  })
}

const failed = new Map()
let bad = 0
try {
  for (let run = 1; run <= times; run++) {
    const seed = Math.floor(Math.random() * 2 ** 31)
    const outputFile = join(directory, `${run}.json`)
    const startMs = performance.now()
    const { code, output } = await runOnce(seed, outputFile)
    const seconds = ((performance.now() - startMs) / 1000).toFixed(0)
    let failures = []
    try {
      failures = failuresOf(outputFile)
    } catch {
      failures = [['(no report)', output.slice(-2000)]]
    }
    if (code !== 0 && failures.length === 0) failures.push(['(outside of any test)', output.slice(-2000)])
    if (code !== 0) bad += 1
    console.log(`run ${run} of ${times}: ${seconds} s, seed ${seed}: ${code === 0 ? 'passed' : 'FAILED'}`)
    for (const [name, message] of failures) {
      console.log(`  ${name}\n${message.slice(0, 2000).replaceAll(/^/gm, '    ')}`)
      failed.set(name, [...(failed.get(name) ?? []), seed])
    }
  }
} finally {
  for (const burner of burners) burner.kill()
  rmSync(directory, { recursive: true, force: true })
}
console.log(`${times - bad} of ${times} runs passed`)
for (const [name, seeds] of failed) console.log(`failed ${seeds.length} times (seeds ${seeds.join(', ')}): ${name}`)
if (bad > 0) process.exitCode = 1
