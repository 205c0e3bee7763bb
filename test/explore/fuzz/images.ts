// Puts a store's files onto a disk in memory, beside a directory that is nobody's to touch.

import type { DirectoryImage, FileImage } from '../../faulty-disk/image.ts'

type Entries = Map<string, DirectoryImage | FileImage>

const SENTINEL = Buffer.from('not of the store')

function directoryOf(entries: Entries): DirectoryImage {
  return { kind: 'directory', mode: 0o700, entries }
}

/** A path that ends in `/` is an empty directory. A file whose parent is a file by now is left out. */
export function imageOf(files: ReadonlyMap<string, Uint8Array>): DirectoryImage {
  const store: Entries = new Map()
  for (const [path, content] of files) {
    const names = path.split('/')
    const last = names.pop()!
    let at = store
    for (const name of names) at = below(at, name)
    if (last !== '' && !at.has(last)) at.set(last, { kind: 'file', mode: 0o600, content, mtimeMs: 0 })
  }
  const other = directoryOf(new Map([['file', { kind: 'file', mode: 0o600, content: SENTINEL, mtimeMs: 0 }]]))
  return directoryOf(
    new Map([
      [
        'srv',
        directoryOf(
          new Map([
            ['other', other],
            ['store', directoryOf(store)],
          ]),
        ),
      ],
    ]),
  )
}

function below(entries: Entries, name: string): Entries {
  const there = entries.get(name)
  if (there?.kind === 'directory') return there.entries as Entries
  const made: Entries = new Map()
  entries.set(name, directoryOf(made))
  return made
}

/** All but what lies in the store's directory. */
export function outsideOf(image: DirectoryImage): DirectoryImage {
  const srv = image.entries.get('srv') as DirectoryImage
  const rest = new Map([...srv.entries].filter(([name]) => name !== 'store'))
  return directoryOf(new Map([...image.entries, ['srv', directoryOf(rest)]]))
}
