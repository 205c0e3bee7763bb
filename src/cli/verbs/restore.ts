// `holdfast restore`: blobs as files of a new directory, or the file of an engine. All or nothing, durable, every byte
// verified.

import { lstatSync } from 'node:fs'
import { resolve } from 'node:path'
import type { Snapshot, SnapshotBlob } from '../../index.ts'
import { dagJson } from '../document.ts'
import { Refusal, usage } from '../failure.ts'
import { filePaths } from '../file-names.ts'
import { assertOutside } from '../outside.ts'
import { countText, sizeText } from '../screen.ts'
import { type Session, withSnapshot } from '../session.ts'
import type { Outcome, Verb } from '../verb.ts'
import { snapshotDocument, snapshotText } from './snapshots.ts'

interface RestoreOptions {
  output: string
  at?: string
  engine?: boolean
  overwrite?: boolean
}

export const restore: Verb = {
  usage: 'restore [blob...]',
  summary: 'write blobs out as files, or an engine as its own file',
  description:
    'Blobs go into a new or empty directory, all of them or none. <blob> may be the name of a blob, or <name>/ for what came from a directory. ' +
    'Names that cannot be paths below the directory are escaped with %; docs/command-line.md says how.\n\n' +
    "With --engine the output is the engine's own file (usearch, hnswlib, SQLite), put together without the engine being installed.",
  examples: [
    'restore -o ./out -s ./data/search',
    'restore documents.json -o ./out --at v1 -s ./data/search',
    'restore --engine -o index.usearch -s ./data/vectors',
  ],
  options: (command) =>
    command
      .requiredOption('-o, --output <path>', 'the directory; with --engine, the file')
      .option('--at <snapshot>', 'the snapshot; default: the current one')
      .option('--engine', "write the engine's own file")
      .option('--overwrite', 'with --engine, replace a file that is there'),
  async run(session, names, options: RestoreOptions) {
    if (options.engine === true && names.length > 0) throw usage('--engine writes one file: name no blobs')
    if (options.engine !== true && options.overwrite === true) throw usage('--overwrite is for --engine')
    if (options.output === '-')
      throw usage(
        'files are written into a directory: give its name to --output; cat writes one blob to standard output',
      )
    const target = resolve(options.output)
    if (!session.isRemote) assertOutside(target, session.location)
    return await withSnapshot(session, options.at, (snapshot) =>
      options.engine === true
        ? restoreEngineFile(session, snapshot, target, options.overwrite === true)
        : restoreBlobs(session, snapshot, names, target),
    )
  },
}

async function restoreBlobs(
  session: Session,
  snapshot: Snapshot,
  names: readonly string[],
  target: string,
): Promise<Outcome> {
  const { createBlobDirectory, nodeFileSystem } = await import('../write-files.ts')
  const blobs = chosen(snapshot, names)
  const paths = filePaths(blobs, process.platform)
  const root = 'blobs'
  const renamed = new Map([...paths].map(([path, name]) => [`${root}/${path}`, snapshot.blob(name)]))
  if (renamed.size === 0) throw usage(`${snapshotText(snapshot)} has no blobs`)
  const { signal, onProgress } = session
  const files = [...paths].map(([path, name]) => ({ blob: name, path, size: snapshot.blob(name).size }))
  const bytes = files.reduce((sum, { size }) => sum + size, 0)
  session.target = { path: target, bytes, elsewhere: 'with -o' }
  await createBlobDirectory(nodeFileSystem, root, renamed).writeTo(target, { signal, onProgress })
  return {
    document: { store: session.location, snapshot: snapshotDocument(snapshot), directory: target, files },
    text: () => [
      `${countText(files.length, 'blob')} (${sizeText(bytes)}) of ${snapshotText(snapshot)} restored into ${target}`,
    ],
    isNotice: true,
  }
}

/** The blobs that were named, and those below a name that ends in `/`; without names all. */
function chosen(snapshot: Snapshot, names: readonly string[]): SnapshotBlob[] {
  if (names.length === 0) return snapshot.names.map((name) => snapshot.blob(name))
  const all = new Set<string>()
  for (const name of names) {
    const below = name.endsWith('/') ? snapshot.names.filter((each) => each.startsWith(name)) : []
    // Without one, `blob` says which there are.
    for (const each of below.length > 0 ? below : [snapshot.blob(name).name]) all.add(each)
  }
  return [...all].map((name) => snapshot.blob(name))
}

async function restoreEngineFile(
  session: Session,
  snapshot: Snapshot,
  target: string,
  overwrite: boolean,
): Promise<Outcome> {
  const { engineFile } = await import('../write-files.ts')
  const { writeFileDurable } = await import('../../durable.ts')
  if (!overwrite && lstatSync(target, { throwIfNoEntry: false }) !== undefined) {
    throw new Refusal('TARGET_EXISTS', 'input', `${target} is there already; --overwrite replaces it`, {
      details: { path: target },
    })
  }
  const { signal } = session
  const { record, blobs, parts } = await engineFile(snapshot, signal)
  const totalBytes = blobs.reduce((sum, { size }) => sum + size, 0)
  session.target = { path: target, bytes: totalBytes, elsewhere: 'with -o' }
  const { bytes } = await writeFileDurable(target, counted(parts, session, record.name, totalBytes), { signal })
  const { name, version, layout, options, state } = record
  return {
    document: {
      store: session.location,
      snapshot: snapshotDocument(snapshot),
      file: target,
      bytes,
      engine: { name, version, layout, options: await dagJson(options), state: await dagJson(state ?? {}) },
    },
    text: () => [
      `${name}${version === undefined ? '' : ` ${version}`}: ${sizeText(bytes)} of ${snapshotText(snapshot)} restored into ${target}`,
    ],
    isNotice: true,
  }
}

async function* counted(
  parts: AsyncIterable<Uint8Array>,
  session: Session,
  blob: string,
  totalBytes: number,
): AsyncGenerator<Uint8Array> {
  let bytes = 0
  for await (const part of parts) {
    bytes += part.length
    session.onProgress({ phase: 'loading', blob, bytes, totalBytes })
    yield part
  }
}
