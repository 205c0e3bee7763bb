// `npm run test:s3:cluster`: builders and readers on a cluster of three storage daemons and two gateways, which are
// killed in turn.
//
//   node test/s3/cluster.mjs [seconds] [builders] [readers]      default 300, 4 and 8
//
// A builder is a process that persists one snapshot after the other into one store that all share, through one gateway
// or the other. A reader is a process that loads the newest snapshot and compares each byte. At the end every
// acknowledged snapshot must be there once, with its bytes, and the store must verify. No reader may have met a wrong
// byte, damage, or an older snapshot than before, and no process may have waited longer than `STUCK_MS`. Otherwise it
// exits with 1.

import { fork, spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { build } from 'esbuild'
import { contentOf, openThrough } from './cluster-store.mjs'

const here = dirname(fileURLToPath(import.meta.url))
const script = join(here, 'radosgw.sh')
const [seconds = 300, builders = 4, readers = 8] = process.argv.slice(2).map(Number)
/** Longer than a storage daemon needs to be missed and to come back, and than a request is tried again. */
const STUCK_MS = 120_000
const DAEMONS = ['osd0', 'rgw0', 'osd1', 'rgw1', 'osd2']
const KILLED_MS = 8_000
const BETWEEN_MS = 9_000

const env = {
  ...process.env,
  CEPH_DIR: mkdtempSync(join(tmpdir(), 'holdfast-cluster-')),
  OSDS: '3',
  RGWS: '2',
  RGW_PORT: '7590',
  MON_PORT: '6890',
}

function ceph(...args) {
  const { status, stdout } = spawnSync(script, args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'inherit'] })
  if (status !== 0) throw new Error(`radosgw.sh ${args.join(' ')} failed`)
  return stdout
}

const acknowledged = new Map()
const failures = []
const counts = { persists: 0, loads: 0, errors: {}, kills: 0 }
const longest = { persist: 0, load: 0 }
const children = new Set()
const lastHeard = new Map()

function start(kind, number, endpoints, prefix) {
  const child = fork(join(here, 'cluster-child.mjs'), [kind, String(number), prefix, ...endpoints])
  const name = `${kind} ${number}`
  children.add(child)
  lastHeard.set(name, Date.now())
  child.on('message', (message) => {
    lastHeard.set(name, Date.now())
    if (message.acknowledged !== undefined) {
      counts.persists += 1
      longest.persist = Math.max(longest.persist, message.ms)
      acknowledged.set(message.acknowledged, message.sequence)
    } else if (message.loaded !== undefined) {
      counts.loads += 1
      longest.load = Math.max(longest.load, message.ms)
    } else if (message.error !== undefined) {
      counts.errors[`${kind} ${message.error}`] = (counts.errors[`${kind} ${message.error}`] ?? 0) + 1
    } else {
      failures.push(`${name}: ${message.wrong}`)
    }
  })
  child.on('exit', (code) => {
    children.delete(child)
    lastHeard.delete(name)
    if (code !== 0) failures.push(`${name} ended with ${code}`)
  })
}

/** A store never makes a bucket: the setup of `npm run test:s3` does. */
async function makeBucket(endpoint) {
  const outfile = join(here, '../dist/make-bucket.mjs')
  await build({
    entryPoints: [join(here, 'make-bucket.ts')],
    outfile,
    bundle: true,
    packages: 'external',
    platform: 'node',
    format: 'esm',
  })
  process.env.HOLDFAST_S3_ENDPOINT = endpoint
  await (await import(outfile)).default()
}

async function killInTurn(untilMs) {
  for (let turn = 0; Date.now() < untilMs; turn++) {
    await sleep(BETWEEN_MS)
    if (Date.now() > untilMs - KILLED_MS) return
    const daemon = DAEMONS[turn % DAEMONS.length]
    for (const each of DAEMONS) ceph('run', each)
    ceph('kill', daemon)
    counts.kills += 1
    await sleep(KILLED_MS)
    ceph('run', daemon)
    // A storage daemon that was killed may give up its first start.
    await sleep(3_000)
    ceph('run', daemon)
    for (const [name, ms] of lastHeard) {
      if (Date.now() - ms > STUCK_MS) failures.push(`${name} has said nothing for ${Date.now() - ms} ms`)
    }
    process.stdout.write(
      `${daemon} was killed; ${counts.persists} persists, ${counts.loads} loads, longest ${Math.round(longest.persist)} and ${Math.round(longest.load)} ms\n`,
    )
  }
}

async function check(endpoints, prefix) {
  const store = await openThrough(endpoints[0], prefix)
  const snapshots = await store.snapshots()
  const found = new Map()
  for (const { sequence } of snapshots) {
    const snapshot = await store.load({ at: sequence })
    const { label } = snapshot.metadata
    if (found.has(label)) failures.push(`${label} is there twice: as ${found.get(label)} and ${sequence}`)
    found.set(label, sequence)
    if (!contentOf(label).equals(Buffer.from(await snapshot.blob('index').bytes())))
      failures.push(`${label} has wrong bytes`)
    await snapshot.dispose()
  }
  for (const [label, sequence] of acknowledged) {
    if (found.get(label) !== sequence)
      failures.push(`${label} was acknowledged as ${sequence}, and is ${found.get(label)}`)
  }
  const report = await store.verify()
  if (!report.ok) failures.push(`verify: ${JSON.stringify(report.problems).slice(0, 500)}`)
  await store.close()
  return snapshots.length
}

let kept = 0
try {
  const endpoints = ceph('start').trim().split('\n').slice(-2)
  const prefix = `cluster/${randomBytes(8).toString('hex')}`
  await makeBucket(endpoints[0])
  const first = await openThrough(endpoints[0], prefix)
  await first.persist({ blobs: { index: contentOf('first') }, metadata: { label: 'first' } })
  await first.close()
  const untilMs = Date.now() + seconds * 1000
  for (let i = 0; i < builders; i++) start('builder', i, endpoints, prefix)
  for (let i = 0; i < readers; i++) start('reader', i, endpoints, prefix)
  await killInTurn(untilMs)
  while (Date.now() < untilMs) await sleep(200)
  for (const child of children) child.send('end')
  const deadlineMs = Date.now() + STUCK_MS
  while (children.size > 0 && Date.now() < deadlineMs) await sleep(200)
  if (children.size > 0) failures.push(`${children.size} processes do not end`)
  for (const child of children) child.kill('SIGKILL')
  kept = await check(endpoints, prefix)
} finally {
  for (const child of children) child.kill('SIGKILL')
  spawnSync(script, ['stop'], { env, stdio: 'inherit' })
  rmSync(env.CEPH_DIR, { recursive: true, force: true })
}

process.stdout.write(
  `${JSON.stringify({ seconds, builders, readers, ...counts, longestMs: longest, kept, acknowledged: acknowledged.size, failures }, null, 2)}\n`,
)
process.exit(failures.length > 0 || acknowledged.size === 0 || counts.loads === 0 ? 1 : 0)
