import { parseHead } from '../../src/format/head.ts'
import type { StoreOptions } from '../../src/store.ts'
import { leastState } from '../faulty-disk/crash-states.ts'
import { createDisk, type Disk } from '../faulty-disk/disk.ts'
import { contentOf as bytesAt, type DirectoryImage, filesBelow, walk } from '../faulty-disk/image.ts'
import type { RenameModel } from '../faulty-disk/names.ts'
import { type Contents, labelOf, observe, openOn, persistOf, STORE } from './model.ts'

export interface CheckOptions {
  rename: RenameModel
  /** What may be seen: texts as `observe` gives. */
  allowed: readonly string[]
  contents?: Contents | undefined
  store?: StoreOptions | undefined
  /** Things that may lie in quarantine, each with its note. */
  quarantined?: number | undefined
  /** Told of the disk that recovers, before it does. */
  onRecovery?: ((disk: Disk) => void) | undefined
}

let recoveries = 0

/**
 * What must hold for any disk that a crash leaves, in a process that knows nothing of the one before: what was
 * acknowledged is there byte for byte; looking changes nothing; the next persist succeeds and survives another power
 * loss; then verify is clean and nothing is left lying about. Answers what was seen, and the label of the new snapshot.
 */
export async function checkRecovery(
  image: DirectoryImage,
  options: CheckOptions,
): Promise<{ seen: string; label: string }> {
  const disk = createDisk(image, { rename: options.rename })
  const seen = await observeImage(disk, options)
  if (!options.allowed.includes(seen)) {
    throw new Error(
      `there is\n${seen || '(nothing)'}\nwhere it may be only\n${options.allowed.map((each) => each || '(nothing)').join('\nor\n')}`,
    )
  }
  options.onRecovery?.(disk)
  const label = `recovery/${++recoveries % 50}`
  const process = disk.start('recovery')
  await using store = openOn(process, options.store)
  const persisted = await store.persist(persistOf(label))
  assertTidy(disk.image(), options.quarantined ?? 0)
  const report = await store.verify({ level: 'full' })
  if (!report.ok) throw new Error(`verify after the recovery: ${JSON.stringify(report.problems)} ${report.advice}`)
  await store.close()
  if (process.openFiles().length > 0) throw new Error(`left open: ${process.openFiles().join()}`)
  await assertCurrent(leastState(disk.pending()), label, persisted.sequence)
  return { seen, label }
}

/** What a new process sees on a disk, after making sure that looking leaves no trace. */
export async function observeImage(
  disk: Disk,
  options: Pick<CheckOptions, 'contents' | 'store'> = {},
): Promise<string> {
  const process = disk.start('reader')
  const { onChange } = disk
  disk.onChange = ({ name, path }) => {
    throw new Error(`a reader did ${name} ${path}`)
  }
  const store = openOn(process, { ...options.store, readOnly: true })
  const seen = await observe(store, options.contents)
  await store.close()
  disk.onChange = onChange
  if (process.openFiles().length > 0) throw new Error(`left open: ${process.openFiles().join()}`)
  return seen
}

/** The current snapshot of a disk, and nothing more. */
export async function assertCurrent(image: DirectoryImage, label: string, sequence: number): Promise<void> {
  const store = openOn(createDisk(image).start('after'))
  await using snapshot = await store.load()
  const found = snapshot === null ? 'nothing' : `${snapshot.sequence} ${await labelOf(snapshot)}`
  if (found !== `${sequence} ${label}`) throw new Error(`acknowledged was ${sequence} ${label}, durable is ${found}`)
}

const KNOWN = new Set(['STORE.json', 'HEAD.json', 'HEAD.prev.json', 'writer.lock'])

/** Nothing lies in the store that HEAD does not know: no temps, no orphans, nothing new in quarantine. */
export function assertTidy(image: DirectoryImage, quarantined: number): void {
  const strangers: string[] = []
  const { head } = parseHead(bytesAt(image, `${STORE}/HEAD.json`), 'HEAD.json')
  const packs = new Set([...head.packs, ...head.retired].map(({ name }) => `packs/${name}.pack`))
  let aside = 0
  for (const [path, { kind }] of walk(image)) {
    if (!path.startsWith(`${STORE}/`)) continue
    const name = path.slice(STORE.length + 1)
    if (name.startsWith('quarantine/')) aside += 1
    else if (name.startsWith('tmp/') || name.startsWith('files/.tmp/')) strangers.push(name)
    else if (kind === 'file' && !name.startsWith('files/') && !KNOWN.has(name) && !packs.has(name)) strangers.push(name)
  }
  if (strangers.length > 0) throw new Error(`left lying about: ${strangers.join(', ')}`)
  // Each with its note. A crash between the note and the move leaves a note more, one amid the move may leave both
  // names.
  if (aside > quarantined * 3 + 1)
    throw new Error(`in quarantine: ${filesBelow(image, `${STORE}/quarantine`).join(', ')}`)
  const missing = head.packs.filter(({ name }) => !filesBelow(image, `${STORE}/packs`).includes(`${name}.pack`))
  if (missing.length > 0) throw new Error(`missing: ${missing.map(({ name }) => name).join(', ')}`)
}
