import { mkdirSync, readdirSync, rmSync } from 'node:fs'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { loadSnapshot, openStore, type Store, type StoreOptions } from '../src/index.ts'
import { jsonDocuments, overwrite, vectors } from './data.ts'
import { engineFile } from './engines.ts'
import { assertSame, type Context, isLate } from './group.ts'
import {
  bytesText,
  compare,
  dropCaches,
  GIB,
  log,
  MIB,
  msText,
  ratios,
  rounds,
  settleDisk,
  stat,
  type Times,
  timed,
} from './measure.ts'
import { writePlain } from './plain.ts'
import type { Comparison, GroupResult } from './result.ts'

/** Persist and load against what `node:fs` does with the same bytes. */
export async function basics(context: Context): Promise<GroupResult> {
  const { quick } = context
  const result: Required<Pick<GroupResult, 'comparisons' | 'skipped'>> = { comparisons: [], skipped: [] }
  const engine = await engineFile(context)
  const sets: [string, () => Uint8Array, StoreOptions?][] = [
    ...(quick
      ? ([
          ['128 MiB of float vectors', () => vectors(128 * MIB)],
          ['32 MiB of JSON', () => jsonDocuments(32 * MIB)],
        ] satisfies [string, () => Uint8Array][])
      : ([
          ['1 GiB of float vectors', () => vectors(GIB)],
          ['256 MiB of JSON', () => jsonDocuments(256 * MIB)],
          ["256 MiB of JSON, compression: 'none'", () => jsonDocuments(256 * MIB), { compression: 'none' }],
          ['64 MiB of JSON', () => jsonDocuments(64 * MIB)],
        ] satisfies [string, () => Uint8Array, StoreOptions?][])),
    [`${engine.name}, ${bytesText(engine.bytes.length)}`, () => engine.bytes],
  ]
  for (const [data, make, options] of sets) {
    if (isLate(context)) {
      result.skipped.push(`${data}: out of time`)
      continue
    }
    log(data)
    const bytes = make()
    const wanted = quick ? 3 : 5
    const budgetMs = quick ? 8_000 : bytes.length >= GIB ? 150_000 : 60_000
    const { comparisons, skipped } = await measure(context, data, bytes, options, wanted, budgetMs)
    result.comparisons.push(...comparisons)
    for (const reason of skipped) if (!result.skipped.includes(reason)) result.skipped.push(reason)
  }
  return result
}

interface Row {
  id: string
  work: string
  against: string
  target?: number
  ours: number[]
  theirs: number[]
  cpu: number[]
}

async function measure(
  context: Context,
  data: string,
  bytes: Uint8Array,
  options: StoreOptions | undefined,
  wanted: number,
  budgetMs: number,
): Promise<{ comparisons: Comparison[]; skipped: string[] }> {
  const rows = new Map<string, Row>()
  const skipped: string[] = []
  const WRITE = 'temp + writeFile + fsync + rename + directory fsync'
  const READ = 'fs.promises.readFile'
  function note(row: Omit<Row, 'ours' | 'theirs' | 'cpu'>, { ours, theirs, cpu }: Times): void {
    const known = rows.get(row.id) ?? { ...row, ours: [], theirs: [], cpu: [] }
    known.ours.push(ours)
    known.theirs.push(theirs)
    known.cpu.push(cpu.ours / cpu.theirs)
    rows.set(row.id, known)
  }

  const more = rounds(wanted, budgetMs)
  for (let round = 0; more(round); round++) {
    const directory = join(context.scratch, `basics-${round}`)
    mkdirSync(directory, { recursive: true })
    const path = join(directory, 'store')
    const plain = join(directory, 'plain.bin')
    const store = await openStore(path, options)

    async function plainWrite(): Promise<number> {
      settleDisk()
      return await timed(() => writePlain(plain, bytes))
    }
    async function persist(expectUnchanged = false): Promise<number> {
      settleDisk()
      let unchanged = false
      const ms = await timed(async () => {
        unchanged = (await store.persist({ blobs: { data: bytes } })).unchanged
      })
      if (unchanged !== expectUnchanged) throw new Error(`expected unchanged to be ${expectUnchanged}`)
      return ms
    }

    const read = () => timedRead(plain, bytes)
    const load = () => timedLoad(path, bytes)
    note(
      { id: 'first', work: 'first persist', against: WRITE, target: 1.3 },
      await compare(round, plainWrite, () => persist()),
    )
    const fresh = await compare(round, read, load)
    note({ id: 'load-warm', work: 'verified load, page cache warm', against: READ, target: 0.75 }, fresh)

    const laidOut = await layOut(store)
    note(
      { id: 'file', work: 'file() of a blob already laid out, verified', against: READ, target: 0.6 },
      await compare(
        round,
        () => timedRead(laidOut, bytes),
        () => timedFile(path),
      ),
    )

    note(
      { id: 'verify', work: 'verify() of every byte, nothing wrong', against: `${READ}, of the packs` },
      await compare(
        round,
        () => timedReads(join(path, 'packs')),
        () => timedVerify(store),
      ),
    )

    if (dropCaches()) {
      note(
        { id: 'load-cold', work: 'verified load, page cache dropped', against: READ, target: 1 },
        await compare(round, cold(read), cold(load)),
      )
    } else skipped.push('loads with the page cache dropped: that needs root')

    for (const [how, work] of [
      ['run', 'persist after 1 % changed in place, in one run'],
      ['scattered', 'persist after 1 % changed in place, in 1 KiB records all over'],
    ] as const) {
      const { undo } = overwrite(bytes, 0.01, how)
      note(
        { id: `changed-${how}`, work, against: `${WRITE} of the whole`, target: 0.5 },
        await compare(round, plainWrite, () => persist()),
      )
      if (how === 'scattered') {
        const after = await compare(round, read, load)
        note({ id: 'load-after', work: 'verified load after 1 % changed all over', against: READ }, after)
        note(
          {
            id: 'fragmented',
            work: 'verified load, fragmented by 1 % changed all over',
            against: 'the load before the change, in the same round',
            target: 1.5,
          },
          { ours: after.ours, theirs: fresh.ours, cpu: { ours: after.cpu.ours, theirs: fresh.cpu.ours } },
        )
        note(
          { id: 'unchanged', work: 'unchanged persist', against: `${WRITE} of the whole`, target: 0.4 },
          await compare(round, plainWrite, () => persist(true)),
        )
      }
      undo()
    }
    await store.close()
    rmSync(directory, { recursive: true })
  }

  const comparisons = [...rows.values()].map(({ ours, theirs, cpu, ...row }) => ({
    ...row,
    data,
    ours: stat(ours),
    theirs: stat(theirs),
    ratio: ratios(ours, theirs),
    cpu: stat(cpu),
  }))
  for (const { work, ours, theirs, ratio } of comparisons) {
    log(`  ${work}: ${msText(ours.median)} against ${msText(theirs.median)}, ${ratio.median.toFixed(2)}x`)
  }
  return { comparisons, skipped }
}

function cold(work: () => Promise<number>): () => Promise<number> {
  return async () => {
    dropCaches()
    return await work()
  }
}

async function timedRead(path: string, expected: Uint8Array): Promise<number> {
  globalThis.gc?.()
  let found: Uint8Array | null = null
  const ms = await timed(async () => {
    found = await readFile(path)
  })
  assertSame(found!, expected, path)
  return ms
}

/** As after a restart: a store is opened for it. */
async function timedLoad(path: string, expected: Uint8Array): Promise<number> {
  globalThis.gc?.()
  let found: Uint8Array | null = null
  const ms = await timed(async () => {
    const snapshot = await loadSnapshot(path)
    found = await snapshot!.blob('data').bytes()
    await snapshot!.dispose()
  })
  assertSame(found!, expected, path)
  return ms
}

async function layOut(store: Store): Promise<string> {
  const snapshot = await store.load()
  const path = await snapshot!.blob('data').file()
  await snapshot!.dispose()
  return path
}

async function timedVerify(store: Store): Promise<number> {
  let ok = false
  const ms = await timed(async () => {
    ok = (await store.verify()).ok
  })
  if (!ok) throw new Error('verify found something')
  return ms
}

async function timedReads(directory: string): Promise<number> {
  return await timed(async () => {
    for (const name of readdirSync(directory)) await readFile(join(directory, name))
  })
}

async function timedFile(path: string): Promise<number> {
  globalThis.gc?.()
  return await timed(async () => {
    const snapshot = await loadSnapshot(path)
    await snapshot!.blob('data').file()
    await snapshot!.dispose()
  })
}
