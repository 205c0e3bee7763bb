// `holdfast persist`: saves files, directories and standard input as one snapshot.

import { readFileSync, statSync } from 'node:fs'
import { type Command, Option } from 'commander'
import type { BlobInput, Chunking, PersistOptions, PersistResult, Watermark } from '../../index.ts'
import { Refusal, usage } from '../failure.ts'
import { addKeepOptions, KEEP_ALL, type KeepOptions, keepOf } from '../keep-options.ts'
import { keptLines } from '../kept-lines.ts'
import { parseChunking, parseCount, parseSource } from '../notation.ts'
import { countText, type Line, type Screen, sizeText } from '../screen.ts'
import { expectedHead } from '../session.ts'
import { standardInput } from '../standard-input.ts'
import type { Verb } from '../verb.ts'

interface Options extends KeepOptions {
  init?: boolean
  message?: string
  metadata?: string
  watermark?: string
  chunking?: { kind: Chunking['kind']; bytes: number | null }
  expectedHead?: string
  covers?: number
  allowEmpty?: boolean
  dryRun?: boolean
}

export const persist: Verb = {
  usage: 'persist <name=source...>',
  summary: 'save files, directories or standard input as one snapshot',
  description:
    '<source> is a file, a directory (one blob for each file in it), or - for standard input. All blobs are saved together, or none. Every older ' +
    'snapshot is kept unless --keep-… options are given: what a service keeps by its own rule is not dropped by a save by hand.',
  examples: [
    'persist --init index=./index.bin documents.json=./documents.json -s ./data/search',
    'pg_dump app | holdfast persist dump.sql=- -m nightly -s /var/backups/app',
    'persist site=./public -s ./data/site',
    'persist site=./public --keep-last 10 --keep-daily 30 --dry-run -s ./data/site',
  ],
  options: (command: Command) =>
    addKeepOptions(command)
      .option('--init', 'make the store if there is none there')
      .option('-m, --message <text>', 'for people who read the history')
      .option('--metadata <json>', 'metadata as DAG-JSON, or @<file> with it')
      .option('--watermark <json>', 'the position of the source of truth: a number, text, or several by name')
      .addOption(
        new Option('--chunking <how>', 'content, content:16KiB or fixed:4KiB; default: content').argParser(
          parseChunking,
        ),
      )
      .option('--expected-head <snapshot>', 'fail if another snapshot is the current one; none: if there is one')
      .addOption(
        new Option('--covers <n>', 'the blobs hold the effect of the entries of the journal up to this one').argParser(
          (text) => parseCount(text, 0),
        ),
      )
      .option('--allow-empty', 'take standard input that is empty')
      .option('-n, --dry-run', 'say what would be written and dropped, and change nothing'),
  async run(session, args, options: Options) {
    const blobs = sourcesOf(args, options.allowEmpty === true)
    const { dryRun = false, init = false } = options
    const keep = keepOf(options)
    const request: PersistOptions = {
      blobs,
      message: options.message,
      metadata: await metadataOf(options.metadata),
      watermark:
        options.watermark === undefined
          ? undefined
          : ((await fromDagJson('--watermark', options.watermark)) as Watermark),
      covers: options.covers,
      keep: keep ?? KEEP_ALL,
      chunking: await chunkingOf(options.chunking),
      signal: session.signal,
      onProgress: session.onProgress,
      dryRun,
    }
    const store = dryRun ? await session.read({ init }) : await session.write({ init })
    if (options.covers !== undefined && !dryRun) await store.openJournal()
    const result = await store.persist({ ...request, ...(await expectedHead(store, options.expectedHead)) })
    return {
      document: {
        store: store.location,
        dryRun,
        ...resultDocument(result),
        kept: keep === null ? undefined : result.kept,
      },
      text: (screen) => (dryRun ? dryRunLines(result, keep !== null, screen) : resultLines(result)),
      isNotice: !dryRun,
    }
  },
}

export function resultDocument({
  sequence,
  manifest,
  unchanged,
  dropped,
  bytes,
  blobs,
  durationMs,
}: PersistResult): Record<string, unknown> {
  const list = Object.entries(blobs).map(([name, { cid, size }]) => ({ name, cid, size }))
  return { sequence, manifest, unchanged, dropped, bytes, blobs: list, durationMs: Math.round(durationMs) }
}

export function resultLines({ sequence, unchanged, dropped, bytes, blobs }: PersistResult): string[] {
  if (unchanged) return [`unchanged: snapshot ${sequence} has exactly this`]
  const count = Object.keys(blobs).length
  const what = countText(count, 'blob')
  return [
    `snapshot ${sequence}: ${what}, ${sizeText(bytes.total)}; ${sizeText(bytes.written)} were written`,
    ...(dropped.length === 0 ? [] : [`dropped: ${dropped.join(', ')}`]),
  ]
}

function dryRunLines(
  { sequence, unchanged, dropped, kept, bytes, blobs }: PersistResult,
  hasPolicy: boolean,
  screen: Screen,
): Line[] {
  if (unchanged) return [`Nothing would be written: snapshot ${sequence} has exactly this.`]
  const count = Object.keys(blobs).length
  const what = countText(count, 'blob')
  const isThere = bytes.reused === 0 ? '' : `, ${sizeText(bytes.reused)} are in the store`
  const merged = bytes.compacted === 0 ? [] : [`Would also merge small packs: ${sizeText(bytes.compacted)}.`]
  const goes =
    dropped.length === 0
      ? 'Would drop no snapshot.'
      : `Would drop ${countText(dropped.length, 'snapshot')}: ${dropped.join(', ')}.`
  return [
    `Would save snapshot ${sequence}: ${what}, ${sizeText(bytes.total)}; ${sizeText(bytes.written)} would be written${isThere}.`,
    ...merged,
    goes,
    ...(hasPolicy ? keptLines(kept, screen) : []),
  ]
}

function sourcesOf(args: readonly string[], allowEmpty: boolean): [string, BlobInput][] {
  const sources = args.map(parseSource)
  if (sources.filter(({ path }) => path === '-').length > 1) throw usage('standard input can be only one blob')
  const names = sources.map(({ name }) => name)
  const twice = names.find((name, i) => names.indexOf(name) !== i)
  if (twice !== undefined) throw usage(`two blobs are named ${twice}`)
  return sources.map(({ name, path }): [string, BlobInput] => {
    if (path === '-') return [name, nonEmpty(standardInput(), allowEmpty)]
    const isDirectory = isDirectoryAt(path, name)
    return [name, isDirectory ? { directory: path } : { file: path }]
  })
}

/**
 * A file that is not there is a typing mistake, told before the store is made or locked. What cannot be looked at, the
 * save says.
 */
function isDirectoryAt(path: string, name: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') return false
    throw new Refusal('SOURCE_FAILED', 'input', `${path}, the source of blob ${JSON.stringify(name)}, does not exist`, {
      details: { blob: name, path },
    })
  }
}

/** What ends without a byte is a command that failed, far more often than data. */
async function* nonEmpty(input: AsyncIterable<Uint8Array>, allowEmpty: boolean): AsyncGenerator<Uint8Array> {
  let isEmpty = true
  for await (const bytes of input) {
    isEmpty = false
    yield bytes
  }
  if (isEmpty && !allowEmpty) throw new Error('standard input was empty; --allow-empty takes it')
}

async function chunkingOf(given: Options['chunking']): Promise<Chunking | undefined> {
  if (given === undefined) return undefined
  const { content, fixed } = await import('../../index.ts')
  try {
    if (given.kind === 'fixed') return fixed(given.bytes!)
    return content(given.bytes === null ? {} : { averageBytes: given.bytes })
  } catch (error) {
    // It begins with what a program calls it.
    throw usage(`--chunking: ${(error as Error).message.replace(/^(fixed\(\)|averageBytes)/, given.kind)}`)
  }
}

async function metadataOf(given: string | undefined): Promise<Record<string, unknown> | undefined> {
  if (given === undefined) return undefined
  const value = await fromDagJson('--metadata', given.startsWith('@') ? readText(given.slice(1)) : given)
  if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) {
    throw usage('--metadata is an object, as in {"source":"nightly"}')
  }
  return value as Record<string, unknown>
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (error) {
    throw usage(`--metadata: ${path} cannot be read: ${(error as Error).message}`)
  }
}

async function fromDagJson(option: string, text: string): Promise<unknown> {
  const { parse } = await import('@ipld/dag-json')
  try {
    return parse(text)
  } catch (error) {
    throw usage(`${option} is not DAG-JSON: ${jsonError(text) ?? (error as Error).message}`)
  }
}

/** What is wrong with JSON, in the words that people know from elsewhere; null when only DAG-JSON forbids it. */
function jsonError(text: string): string | null {
  try {
    JSON.parse(text)
    return null
  } catch (error) {
    return (error as Error).message
  }
}
