// `npm run test:s3`: a suite that runs over every storage, and those of test/s3/server, against Ceph's object gateway.
// `npm run test:s3:full`: all such suites, at full effort. Where Ceph is not installed and cannot be (no root, no apt),
// or does not start, it says so and is done. HOLDFAST_S3_ENDPOINT names a server that runs already, with the keys
// testaccess and testsecret; it is left alone.
//
//   node test/s3/run.mjs [files or options of vitest]

import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const script = join(here, 'radosgw.sh')
const SUITES = ['test/s3/server', 'test/storage/contract.test.ts', 'test/persist/persist.test.ts']
const MORE_SUITES = [
  'test/history/history.test.ts',
  'test/load/load.test.ts',
  'test/load/readers.test.ts',
  'test/store/round-trip.test.ts',
]
const isFull = process.env.HOLDFAST_EFFORT === 'full'

function run(command, args, env = {}) {
  return spawnSync(command, args, { stdio: 'inherit', env: { ...process.env, ...env } }).status ?? 1
}

function skip(why) {
  process.stdout.write(`test:s3 SKIPPED: ${why}\n`)
  process.exit(0)
}

function has(command) {
  return spawnSync('sh', ['-c', `command -v ${command}`]).status === 0
}

const given = process.env.HOLDFAST_S3_ENDPOINT
let endpoint = given
if (endpoint === undefined) {
  if (process.platform !== 'linux' || !existsSync('/bin/bash')) skip('Ceph runs on Linux only')
  if (!has('radosgw')) {
    if (process.getuid?.() !== 0 || !has('apt-get'))
      skip("Ceph's radosgw is not installed, and only root with apt can install it")
    if (run(script, ['install']) !== 0) skip("Ceph's packages cannot be installed here")
  }
  const start = () => spawnSync(script, ['start'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  // A port of a server that was stopped just now may not be free yet.
  let started = start()
  if (started.status !== 0) started = start()
  endpoint = started.stdout.trim().split('\n').at(-1)
  if (started.status !== 0) {
    run(script, ['stop'])
    skip("Ceph's gateway does not start here")
  }
}

/** AWS's own client, which users may bring. Too large for a development dependency. */
const AWS_SDK = '@aws-sdk/client-s3@3.1175.0'

/** A path to require it from; null where it cannot be installed. */
function installSdk() {
  const folder = mkdtempSync(join(tmpdir(), 'holdfast-aws-sdk-'))
  const install = ['install', '--no-save', '--no-audit', '--no-fund', '--ignore-scripts', '--prefix', folder, AWS_SDK]
  if (run('npm', install) === 0) return join(folder, 'index.js')
  process.stdout.write(`test:s3 SKIPPED, with AWS's own client: ${AWS_SDK} cannot be installed here\n`)
  rmSync(folder, { recursive: true, force: true })
  return null
}

const args = process.argv.slice(2)
const sdk = installSdk()
const suites = isFull ? [...SUITES, ...MORE_SUITES] : SUITES
const vitest = join(here, '../../node_modules/vitest/vitest.mjs')
process.exitCode = run(process.execPath, [vitest, 'run', ...(args.length > 0 ? args : suites)], {
  HOLDFAST_S3_ENDPOINT: endpoint,
  ...(sdk === null ? {} : { HOLDFAST_AWS_SDK: sdk }),
})
if (sdk !== null) rmSync(dirname(sdk), { recursive: true, force: true })
if (given === undefined) run(script, ['stop'])
