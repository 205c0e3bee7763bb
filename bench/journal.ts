// The journal: how fast entries become durable and are read again, beside a bare write with fdatasync and beside other
// stores.

import { fdatasync, mkdirSync, readFileSync, rmSync, write } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { openStore } from '../src/index.ts'
import { type Context, isLate } from './group.ts'
import { liveFacts } from './journal-live.ts'
import { holdfast, type LogKind, logKinds } from './journal-rivals.ts'
import { bytesText, compare, KIB, log, MIB, msText, ratios, settleDisk, stat, timed } from './measure.ts'
import type { Comparison, Fact, GroupResult, RateTable } from './result.ts'

/** A frame with one small entry. */
const PAGE_BYTES = 4 * KIB

export async function journal(context: Context): Promise<GroupResult> {
  const { kinds, skipped } = await logKinds(context)
  const comparisons = [await serialBeside(context)]
  const rates: RateTable[] = []
  const budgetMs = context.quick ? 400 : 1500
  for (const work of [
    { what: 'one at a time', bytes: 128, group: 1, unit: 'entries/s' },
    { what: '1,000 at once', bytes: 128, group: 1000, unit: 'entries/s', target: 100_000 },
    { what: '64 at once', bytes: 64 * KIB, group: 64, unit: 'MB/s', target: 200 },
  ] as const) {
    if (isLate(context)) skipped.push(`${work.what}: out of time`)
    else rates.push(await appendRates(context, kinds, work, budgetMs))
  }
  const facts = [
    ...(await replay(context)),
    ...(await openToReplayTheEnd(context, skipped)),
    ...(await liveFacts(context)),
  ]
  return { comparisons, rates, facts, skipped }
}

/** Serial appends against the same pages written and made durable by nothing but `node:fs`, in turns of so many. */
async function serialBeside(context: Context): Promise<Comparison> {
  const directory = join(context.scratch, 'serial')
  mkdirSync(directory)
  const entry = new Uint8Array(128).fill(7)
  const page = new Uint8Array(PAGE_BYTES).fill(7)
  const each = context.quick ? 20 : 50
  const ours: number[] = []
  const theirs: number[] = []
  const cpu: number[] = []
  const journal = await holdfast.open(join(directory, 'store'))
  const bare = await open(join(directory, 'bare'), 'wx')
  const put = promisify(write)
  const sync = promisify(fdatasync)
  let at = 0
  settleDisk()
  for (let round = 0; round < (context.quick ? 10 : 60); round++) {
    const times = await compare(
      round,
      () =>
        timed(async () => {
          for (let i = 0; i < each; i++) {
            await put(bare.fd, page, 0, page.length, at)
            await sync(bare.fd)
            at += page.length
          }
        }),
      () =>
        timed(async () => {
          for (let i = 0; i < each; i++) await journal.append(entry)
        }),
    )
    ours.push(times.ours / each)
    theirs.push(times.theirs / each)
    cpu.push(times.cpu.ours / times.cpu.theirs)
  }
  await journal.close()
  await bare.close()
  const ratio = ratios(ours, theirs)
  log(
    `serial appends: ${msText(stat(ours).median)} against ${msText(stat(theirs).median)}, ${ratio.median.toFixed(2)}x`,
  )
  return {
    id: 'journal-serial',
    data: `entries of ${entry.length} B`,
    work: 'an append to the journal, one at a time',
    against: 'write of a page + fdatasync',
    ours: stat(ours),
    theirs: stat(theirs),
    ratio,
    cpu: stat(cpu),
    target: 1.25,
  }
}

interface Work {
  what: string
  bytes: number
  /** Entries at once. */
  group: number
  unit: 'entries/s' | 'MB/s'
  /** To reach or exceed. */
  target?: number
}

/** Every kind in turn, for a few rounds: what the machine does meanwhile comes to all of them. */
async function appendRates(
  context: Context,
  kinds: readonly LogKind[],
  work: Work,
  budgetMs: number,
): Promise<RateTable> {
  const entries = Array.from({ length: work.group }, (_, i) => new Uint8Array(work.bytes).fill(i))
  const directory = join(context.scratch, 'rates')
  mkdirSync(directory)
  const logs = []
  for (const [i, kind] of kinds.entries()) logs.push(await kind.open(join(directory, String(i))))
  const found = kinds.map((): number[] => [])
  settleDisk()
  for (let round = 0; round < 5; round++) {
    for (const [i, into] of logs.entries()) {
      let count = 0
      const untilMs = performance.now() + budgetMs / 5
      const ms = await timed(async () => {
        do {
          if (work.group === 1) await into.append(entries[0]!)
          else await into.appendAll(entries)
          count += work.group
        } while (performance.now() < untilMs)
      })
      const perSecond = (count / ms) * 1000
      found[i]!.push(work.unit === 'MB/s' ? (perSecond * work.bytes) / 1e6 : perSecond)
    }
  }
  for (const each of logs) await each.close()
  rmSync(directory, { recursive: true })
  const rows = kinds.map(({ name, durability }, i) => ({ name, durability, rate: stat(found[i]!) }))
  const name = `entries of ${bytesText(work.bytes)}, ${work.what}`
  log(`${name}: ${rows.map((row) => `${row.name} ${Math.round(row.rate.median)}`).join(', ')} ${work.unit}`)
  return { work: name, unit: work.unit, rows, ...(work.target === undefined ? {} : { target: work.target }) }
}

/** Reads all entries of a journal that was just opened; what they say to an engine is not in it. */
async function replay(context: Context): Promise<Fact[]> {
  const facts: Fact[] = []
  for (const [bytes, total] of [
    [128, 16 * MIB],
    [KIB, 64 * MIB],
    [64 * KIB, context.quick ? 64 * MIB : 256 * MIB],
  ] as const) {
    const path = join(context.scratch, `replay-${bytes}`)
    const store = await openStore(path)
    await fill(store, bytes, total)
    const speeds: number[] = []
    for (let i = 0; i < (context.quick ? 2 : 5); i++) {
      const journal = await store.openJournal()
      let read = 0
      const ms = await timed(async () => {
        for await (const entries of journal.readBatches({ after: 0 }))
          for (const { data } of entries) read += data.length
      })
      if (read !== total) throw new Error(`replay: ${read} bytes, not ${total}`)
      speeds.push(read / 1e3 / ms)
      await journal.close()
    }
    await store.close()
    rmSync(path, { recursive: true })
    const speed = stat(speeds)
    log(`replay of ${bytesText(bytes)}: ${Math.round(speed.median)} MB/s`)
    facts.push({
      id: `journal-replay-${bytes}`,
      what: `replay of journalled entries of ${bytesText(bytes)}, page cache warm`,
      value: speed.median,
      unit: 'MB/s',
      detail: `${bytesText(total)} of entries, verified; ${Math.round(speed.min)} to ${Math.round(speed.max)} MB/s`,
    })
  }
  return facts
}

type Store = Awaited<ReturnType<typeof openStore>>

/** Appends so many bytes in groups, which are read whole. `after` is called with each sequence that ends a group. */
async function fill(
  store: Store,
  bytes: number,
  total: number,
  { groupBytes = 4 * MIB, after = async (_last: number): Promise<void> => undefined } = {},
): Promise<void> {
  const journal = await store.openJournal()
  const entry = new Uint8Array(bytes).fill(5)
  const group = groupBytes / bytes
  for (let left = total / bytes; left > 0; ) {
    const now = Math.min(group, left)
    for (let i = 0; i < now; i++) journal.append(entry)
    await journal.flush()
    left -= now
    await after(journal.last)
  }
  await journal.close()
}

/** The bytes that a start reads whose newest snapshot covers 99 % of a large journal. */
async function openToReplayTheEnd(context: Context, skipped: string[]): Promise<Fact[]> {
  const before = bytesRead()
  if (before === null) {
    skipped.push('bytes read by an opening: /proc/self/io is not there')
    return []
  }
  const path = join(context.scratch, 'large')
  const total = context.quick ? 128 * MIB : 1024 * MIB
  const last = total / (64 * KIB)
  const covers = Math.floor(last * 0.99)
  // A journal is kept back to the third-newest snapshot: two early ones keep all of it.
  const wanted = [1, 2, covers]
  const store = await openStore(path)
  await fill(store, 64 * KIB, total, {
    groupBytes: 256 * KIB,
    async after(durable) {
      while (wanted[0] !== undefined && wanted[0] <= durable) {
        const sequence = wanted.shift()!
        await store.persist({ blobs: { state: Buffer.from(String(sequence)) }, covers: sequence })
      }
    },
  })
  const startBytes = bytesRead()!
  let entries = 0
  const ms = await timed(async () => {
    const journal = await store.openJournal()
    for await (const { sequence } of journal.read()) if (sequence > covers) entries += 1
    await journal.close()
  })
  const read = bytesRead()! - startBytes
  await store.close()
  rmSync(path, { recursive: true })
  if (entries !== last - covers) throw new Error(`the last 1 %: ${entries} entries, not ${last - covers}`)
  log(`opening ${bytesText(total)} to replay the last 1 %: ${msText(ms)}, ${bytesText(read)} read`)
  return [
    {
      id: 'journal-open',
      what: 'opening a journal to replay its last 1 %: part of it that is read',
      value: (read / total) * 100,
      unit: '%',
      target: 2 + (MIB / total) * 100,
      detail: `${bytesText(total)} in frames of 256 KiB; ${bytesText(read)} in ${msText(ms)}; 2 % and 1 MiB for headers are allowed`,
    },
  ]
}

/** By all read calls of this process, what the page cache answers included. Null where /proc does not tell. */
function bytesRead(): number | null {
  try {
    return Number(/^rchar: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'))![1])
  } catch {
    return null
  }
}
