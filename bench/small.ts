import { mkdirSync, readFileSync } from 'node:fs'
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { fixed, openStore } from '../src/index.ts'
import { inChild } from './child.ts'
import { random, stampedStream, vectors } from './data.ts'
import { assertSame, type Context } from './group.ts'
import { bytesText, GIB, inTurn, KIB, log, MIB, msText, ratios, settleDisk, stat, timed } from './measure.ts'
import { writePlain } from './plain.ts'
import type { Comparison, Fact, GroupResult } from './result.ts'
import type { OpenOutput } from './tasks.ts'

/** Work whose cost must not grow with what the store holds. */
export async function small(context: Context): Promise<GroupResult> {
  const comparisons: Comparison[] = []
  const facts: Fact[] = []
  const large = context.quick ? 256 * MIB : 2 * GIB
  for (const held of [0, large]) comparisons.push(await metadataPersist(context, held))
  for (const bytes of [MIB, context.quick ? 256 * MIB : GIB]) comparisons.push(await rangeReads(context, bytes))
  facts.push(...(await manyBlocks(context)))
  return { comparisons, facts }
}

async function metadataPersist(context: Context, held: number): Promise<Comparison> {
  const directory = join(context.scratch, `metadata-${held}`)
  mkdirSync(directory)
  const store = await openStore(join(directory, 'store'), { keepLast: 3 })
  if (held > 0) {
    await store.persist({ blobs: { large: stampedStream(held) } })
    await store.tag('large')
  }
  const metadata = vectors(10 * KIB)
  const ours: number[] = []
  const theirs: number[] = []
  settleDisk()
  for (let round = 0; round < (context.quick ? 20 : 60); round++) {
    metadata[round] = round
    metadata[5000] = round
    await inTurn(round, [
      async () => void theirs.push(await timed(() => writePlain(join(directory, 'plain.bin'), metadata))),
      async () => void ours.push(await timed(() => store.persist({ blobs: { metadata } }))),
    ])
  }
  const snapshot = await store.load()
  assertSame(await snapshot!.blob('metadata').bytes(), metadata, 'the metadata')
  await snapshot!.dispose()
  await store.close()
  const data = `10 KiB, in a store holding ${held === 0 ? 'nothing else' : bytesText(held)}`
  const ratio = ratios(ours, theirs)
  log(`${data}: ${msText(stat(ours).median)} against ${msText(stat(theirs).median)}, ${ratio.median.toFixed(2)}x`)
  return {
    id: `metadata-${held === 0 ? 'empty' : 'large'}`,
    data,
    work: 'persist of changed metadata',
    against: 'temp + writeFile + fsync + rename + directory fsync',
    ours: stat(ours),
    theirs: stat(theirs),
    ratio,
    target: 3,
  }
}

async function rangeReads(context: Context, bytes: number): Promise<Comparison> {
  const length = 64 * KIB
  const path = join(context.scratch, `range-${bytes}`)
  const store = await openStore(path)
  await store.persist({ blobs: { data: stampedStream(bytes) } })
  const snapshot = await store.load()
  const blob = snapshot!.blob('data')
  const file = await open(await blob.file(), 'r')
  // Whole into the page cache, so that neither side reads from the disk.
  for await (const part of file.createReadStream({ autoClose: false })) void part
  const next = random(21)
  const ours: number[] = []
  const theirs: number[] = []
  for (let round = 0; round < 300; round++) {
    const start = Math.floor((next() / 2 ** 32) * (bytes - length))
    const expected = new Uint8Array(length)
    let found: Uint8Array = new Uint8Array(0)
    await inTurn(round, [
      async () => void theirs.push(await timed(() => file.read(expected, 0, length, start))),
      async () => {
        ours.push(
          await timed(async () => {
            const parts: Uint8Array[] = []
            for await (const part of blob.stream({ start, end: start + length })) parts.push(part)
            found = parts.length === 1 ? parts[0]! : Buffer.concat(parts)
          }),
        )
      },
    ])
    assertSame(found, expected, `bytes from ${start} on`)
  }
  await file.close()
  await snapshot!.dispose()
  await store.close()
  const ratio = ratios(ours, theirs)
  log(`range of ${bytesText(bytes)}: ${msText(stat(ours).median)} against ${msText(stat(theirs).median)}`)
  return {
    id: `range-${bytesText(bytes).replace(' ', '')}`,
    data: `64 KiB out of ${bytesText(bytes)}`,
    work: 'verified range read, snapshot open',
    against: 'pread into a buffer that is there already',
    ours: stat(ours),
    theirs: stat(theirs),
    ratio,
    target: 5,
  }
}

/** The smallest chunks and packs that there can be, so that a store of a million blocks is made in seconds. */
async function manyBlocks(context: Context): Promise<Fact[]> {
  const blocks = context.quick ? 100_000 : 1_000_000
  const wantedPacks = context.quick ? 20 : 200
  const path = join(context.scratch, 'blocks')
  // A pack is completed between two blobs when it has more than 1 MiB: one blob, one pack.
  const store = await openStore(path, { packBytesMax: MIB, keepLast: 2 })
  const perPack = blocks / wantedPacks
  function* blobs(): Generator<readonly [string, AsyncIterable<Uint8Array> | Uint8Array]> {
    for (let i = 0; i < wantedPacks; i++) yield [`part-${i}`, stampedStream(512 * perPack, 512, 100 + i)]
    yield ['small', vectors(10 * KIB, 77)]
  }
  await store.persist({ blobs: blobs(), chunking: fixed(512) })
  await store.close()
  const packs = (JSON.parse(readFileSync(join(path, 'HEAD.json'), 'utf8')) as { packs: { blocks: number }[] }).packs
  const total = packs.reduce((sum, pack) => sum + pack.blocks, 0)
  const runs: OpenOutput[] = []
  for (let i = 0; i < 5; i++) runs.push(await inChild(context.program, 'openSmall', { store: path, blob: 'small' }))
  const ms = stat(runs.map((run) => run.ms))
  const detail = `${total.toLocaleString('en')} blocks in ${packs.length} packs; median of ${ms.runs} fresh processes`
  log(`open + load: ${msText(ms.median)} (${detail})`)
  const peaks = runs.map((run) => run.peak).filter((peak) => peak !== null)
  return [
    {
      id: 'open-many',
      what: 'open + load of a 10 KiB blob',
      value: ms.median,
      unit: 'ms',
      target: 50,
      detail: `${detail}, ${msText(ms.min)} to ${msText(ms.max)}`,
    },
    ...(peaks.length === 0
      ? []
      : [
          {
            id: 'open-many-memory',
            what: 'memory for open + load of a 10 KiB blob, the block table included',
            value: stat(peaks).median / 1e6,
            unit: 'MB',
            target: 64,
            detail,
          },
        ]),
  ]
}
