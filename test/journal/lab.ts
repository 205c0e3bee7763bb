// A journal on whatever disk, with a HEAD of its own in place of a store's: one JSON file, replaced durably.

import { commitUnknown, writeDurable } from '../../src/fs/durable.ts'
import { readFileOrNull } from '../../src/fs/io.ts'
import type { FileSystem } from '../../src/fs/port.ts'
import type { Mark } from '../../src/journal/appender.ts'
import type { JournalHead } from '../../src/journal/find-chain.ts'
import type { Entry } from '../../src/journal/frame.ts'
import { type OpenJournalOptions, openOwnedJournal } from '../../src/journal/journal.ts'
import type { OwnedJournal } from '../../src/journal/owned.ts'
import type { NamedSegment } from '../../src/journal/place.ts'
import { planHead } from '../../src/journal/plan-repair.ts'
import type { Covered } from '../../src/journal/plan-start.ts'
import { scanAll } from '../../src/journal/recover.ts'
import { journal as id, store } from './build.ts'

export const ROOT = '/s'
export const DIRECTORY = '/s/journal'
const HEAD = '/s/HEAD'

interface LabHead {
  journal: JournalHead | null
  covered: Covered | null
  from: Mark | null
}

async function readLabHead(fs: FileSystem, root: string): Promise<LabHead> {
  const bytes = await readFileOrNull(fs, HEAD.replace(ROOT, root), 1_000_000)
  return bytes === null ? { journal: null, covered: null, from: null } : JSON.parse(Buffer.from(bytes).toString())
}

async function writeLabHead(fs: FileSystem, root: string, head: LabHead): Promise<void> {
  const bytes = Buffer.from(JSON.stringify(head))
  const target = HEAD.replace(ROOT, root)
  try {
    await writeDurable(fs, { bytes, tempDirectory: root, target, mode: 0o600, lock: false })
  } catch (error) {
    throw commitUnknown(error, target, 'was replaced', 'it may be the old one')
  }
}

/** As a snapshot does that covers entries. */
export async function cover(fs: FileSystem, covered: Covered, from: Mark | null = null): Promise<void> {
  await writeLabHead(fs, ROOT, { ...(await readLabHead(fs, ROOT)), covered, from })
}

/** Makes a HEAD of what the segments say alone, as a repair does. */
export async function loseHead(fs: FileSystem): Promise<void> {
  const planned = planHead(await scanAll(fs, DIRECTORY), store, [])
  await writeLabHead(fs, ROOT, { journal: planned?.head ?? null, covered: null, from: null })
}

export async function openLab(
  fs: FileSystem,
  options: Partial<OpenJournalOptions> & { lock?: boolean; root?: string } = {},
): Promise<OwnedJournal> {
  const { lock = true, root = ROOT, ...rest } = options
  return await openOwnedJournal(
    {
      fs,
      directory: DIRECTORY.replace(ROOT, root),
      mode: { file: 0o600, directory: 0o700 },
      lockPath: lock ? `${root}/journal.lock` : null,
      async readState() {
        const { journal, covered, from } = await readLabHead(fs, root)
        return { store, head: journal, from, covered, current: covered?.sequence ?? 0, skips: [] }
      },
      async nameSegment({ segment, durable }: NamedSegment) {
        const head = await readLabHead(fs, root)
        const first = head.journal?.first ?? segment
        const seen = durable ?? head.journal?.seen ?? null
        await writeLabHead(fs, root, {
          ...head,
          journal: { store, id, first, tail: segment, seen, lost: head.journal?.lost ?? null },
        })
      },
    },
    { id, changes: 1, lockWaitMs: 0, segmentBytesMax: 7 * 4096, ...rest },
  )
}

/** All entries, as text. */
export async function entriesOf(opened: OwnedJournal, after = 0): Promise<string[]> {
  return (await listOf(opened, after)).map(({ data }) => Buffer.from(data).toString())
}

export async function listOf(opened: OwnedJournal, after = 0): Promise<Entry[]> {
  const all: Entry[] = []
  for await (const entries of opened.read(after)) all.push(...entries)
  return all
}
