// `holdfast materialize`: lays blobs out as plain files in the store, so that a service that starts finds them there.

import { resolve } from 'node:path'
import { sizeText, table } from '../screen.ts'
import { findSnapshot } from '../session.ts'
import type { Verb } from '../verb.ts'

export const materialize: Verb = {
  usage: 'materialize [blob...]',
  summary: 'lay blobs out as files in the store, for images that are built once and read-only later',
  examples: [
    'materialize -s ./data/search',
    'materialize index --at v1 --files-dir /var/cache/search -s ./data/search',
  ],
  options: (command) =>
    command
      .option('--at <snapshot>', 'the snapshot; default: the current one')
      .option('--files-dir <dir>', 'where the files are laid out; default: files/ in the store'),
  async run(session, names, { at, filesDir }: { at?: string; filesDir?: string }) {
    session.assertDirectory('materialize', 'restore writes blobs out as files')
    const store = await session.write(filesDir === undefined ? {} : { filesDir })
    const { sequence } = await findSnapshot(store, at ?? 'current')
    const { signal, onProgress } = session
    if (filesDir !== undefined) {
      session.target = { path: resolve(filesDir), bytes: null, elsewhere: 'with --files-dir' }
    }
    const { files } = await store.materialize({
      at: sequence,
      ...(names.length === 0 ? {} : { blobs: names }),
      signal,
      onProgress,
    })
    const snapshot = await store.load({ at: sequence, required: true })
    const list = Object.entries(files).map(([blob, path]) => ({ blob, path, size: snapshot!.blob(blob).size }))
    await snapshot!.dispose()
    return {
      document: { store: store.location, sequence, files: list },
      text: () =>
        table(
          [
            { title: 'SIZE', align: 'right', rank: 1 },
            { title: 'BLOB', rank: 2, least: 20 },
            { title: 'FILE', rank: 3 },
          ],
          list.map(({ blob, path, size }) => [sizeText(size), blob, path]),
          // A path that is cut is of no use.
          { columns: null },
        ),
    }
  },
}
