// `holdfast quarantine`: what repairs and writers moved aside. Nothing is put back from here: `repair` adopts packs.

import { lstatSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { clock } from '../../clock.ts'
import type { DiscardWhich, QuarantinedFile } from '../../index.ts'
import { plainValue } from '../document.ts'
import { Refusal, usage } from '../failure.ts'
import { parseDuration } from '../notation.ts'
import { type Line, type Screen, sizeText, table, timeText } from '../screen.ts'
import type { Session } from '../session.ts'
import type { Outcome, Verb } from '../verb.ts'

interface Options {
  output?: string
  overwrite?: boolean
  olderThan?: number
  dryRun?: boolean
}

export const quarantine: Verb = {
  usage: 'quarantine [action] [name...]',
  summary: 'list what was moved aside, copy it out, or delete it',
  description:
    '<action> is list (the default), show <name>, extract <name> -o <file>, or discard: of files by their names, or --older-than 30d.',
  examples: [
    'quarantine -s ./data/search',
    'quarantine extract HEAD.json.damaged.1 -o ./HEAD.json -s ./data/search',
    'quarantine discard --older-than 30d --dry-run -s ./data/search',
  ],
  options: (command: Command) =>
    command
      .option('-o, --output <file>', 'with extract: where the file is copied to')
      .option('--overwrite', 'with extract: replace a file that is there')
      .addOption(
        new Option('--older-than <duration>', 'with discard: what was moved there before').argParser(parseDuration),
      )
      .option('-n, --dry-run', 'with discard: say what would be deleted, and change nothing'),
  async run(session, [action = 'list', ...names], options: Options) {
    session.assertDirectory('quarantine', 'there, what was marked is listed by the objects below quarantine/')
    switch (action) {
      case 'list':
        if (names.length > 0) throw usage('list takes no name; show <name> shows one file')
        return await list(session)
      case 'show':
        return await show(session, one(action, names))
      case 'extract':
        return await extract(session, one(action, names), options)
      case 'discard':
        return await discard(session, names, options)
      default:
        throw usage(`there is no action ${action}: use list, show, extract or discard`)
    }
  },
}

function one(action: string, names: readonly string[]): string {
  if (names.length !== 1) throw usage(`${action} takes the name of one file`)
  return names[0]!
}

async function list(session: Session): Promise<Outcome> {
  const store = await session.read()
  const files = await store.quarantine.list()
  return {
    document: { store: store.location, files: files.map(fileDocument) },
    text: (screen) => (files.length === 0 ? ['Nothing is in quarantine.'] : fileLines(files, screen)),
  }
}

async function show(session: Session, name: string): Promise<Outcome> {
  const store = await session.read()
  const file = await store.quarantine.show(name)
  const { original, reason, time, bytes, details } = file
  return {
    document: { store: store.location, files: [fileDocument(file)] },
    text: () => [
      { text: name, style: 'bold' },
      `size      ${sizeText(bytes)}`,
      ...(original === null ? [] : [`was       ${original}`]),
      ...(reason === null ? [] : [`reason    ${reason}`]),
      ...(time === null ? [] : [`since     ${timeText(time)}`]),
      `details   ${JSON.stringify(plainValue(details))}`,
    ],
  }
}

async function extract(session: Session, name: string, { output, overwrite = false }: Options): Promise<Outcome> {
  if (output === undefined) throw usage('extract needs -o <file>')
  if (output === '-') throw usage('the file is copied into a file: give its name to --output')
  const target = resolve(output)
  session.target = { path: target, bytes: null, elsewhere: 'with -o' }
  if (!overwrite && lstatSync(target, { throwIfNoEntry: false }) !== undefined) {
    throw new Refusal('TARGET_EXISTS', 'input', `${target} is there already; --overwrite replaces it`, {
      details: { path: target },
    })
  }
  const store = await session.read()
  const file = await store.quarantine.show(name)
  await store.quarantine.extract(name, target)
  return {
    document: { store: store.location, files: [fileDocument(file)], extracted: target },
    text: () => [`${name} (${sizeText(file.bytes)}) copied to ${target}`],
    isNotice: true,
  }
}

async function discard(session: Session, names: readonly string[], options: Options): Promise<Outcome> {
  const { olderThan, dryRun = false } = options
  if ((names.length === 0) === (olderThan === undefined)) throw usage('discard takes names, or --older-than')
  const store = dryRun ? await session.read() : await session.write()
  const before = olderThan === undefined ? null : new Date(clock.nowMs() - olderThan)
  const which: DiscardWhich = before === null ? { names } : { olderThan: before }
  const discarded = dryRun ? await chosen(store.quarantine, names, before) : await store.quarantine.discard(which)
  return {
    document: { store: store.location, dryRun, discarded },
    text: () => [
      discarded.length === 0
        ? 'Nothing is deleted.'
        : `${dryRun ? 'Would delete' : 'Deleted'}: ${discarded.join(', ')}`,
    ],
    isNotice: !dryRun,
  }
}

/** What `discard` would delete. */
async function chosen(
  files: { list(): Promise<QuarantinedFile[]>; show(name: string): Promise<QuarantinedFile> },
  names: readonly string[],
  before: Date | null,
): Promise<string[]> {
  if (before === null) return (await Promise.all(names.map((name) => files.show(name)))).map(({ name }) => name)
  return (await files.list()).filter(({ time }) => time !== null && time < before).map(({ name }) => name)
}

function fileDocument({
  name,
  bytes,
  isDirectory,
  original,
  reason,
  time,
  details,
}: QuarantinedFile): Record<string, unknown> {
  return { name, bytes, isDirectory, original, reason, time, details: plainValue(details) }
}

function fileLines(files: readonly QuarantinedFile[], screen: Screen): Line[] {
  return table(
    [
      { title: 'SINCE', rank: 2 },
      { title: 'SIZE', align: 'right', rank: 1 },
      { title: 'REASON', rank: 3 },
      { title: 'FILE', rank: 4 },
    ],
    files.map(({ name, bytes, reason, time }) => [
      time === null ? '' : timeText(time),
      sizeText(bytes),
      reason ?? '',
      name,
    ]),
    screen,
  )
}
