// Which file a blob becomes when it is restored into a directory. Blob names are any text; no path leads out of the
// directory, no two blobs get one path, and each path tells its blob's name. Pure.
//
// A name is kept as it is, except that
//
//    %25     stands for `%` before two hexadecimal digits or at the end of a part
//    %XX     stands for a byte that the system cannot have there: `..` is `%2E%2E`, on Windows `a:b` is `a%3Ab`
//    %00     stands for nothing: a part that is empty, or the end of a file's name that is also the name of a directory
//    a%/b    stands for the one part `ab`, which is longer than file systems take

/** Bytes of a part of a path. Linux, macOS and Windows take 255; room is left for what may be added. */
const PART_BYTES_MAX = 240

/** Blobs by the path of their file, with `/` between its parts. The path of an empty directory ends in `/`. */
export function filePaths(blobs: readonly { name: string; size: number }[], platform: string): Map<string, string> {
  const paths = blobs.map(({ name, size }) => ({
    name,
    path: pathOf(name, name.endsWith('/') && size === 0, platform),
  }))
  const directories = new Set<string>()
  for (const { path } of paths) {
    for (let end = path.indexOf('/'); end !== -1; end = path.indexOf('/', end + 1)) directories.add(path.slice(0, end))
  }
  return new Map(paths.map(({ name, path }) => [directories.has(path) ? `${path}%00` : path, name]))
}

/** As in docs/format.md, an empty blob whose name ends in `/` stands for an empty directory. */
function pathOf(name: string, isDirectory: boolean, platform: string): string {
  const parts = (isDirectory ? name.slice(0, -1) : name).split('/')
  const path = parts.map((part) => cutLong(escapePart(part, platform))).join('/')
  return isDirectory ? `${path}/` : path
}

function escapePart(part: string, platform: string): string {
  if (part === '') return '%00'
  if (part === '.' || part === '..') return part.replaceAll('.', '%2E')
  const plain = part.replaceAll(/%(?=[0-9a-f]{2}|$)/gi, '%25')
  return platform === 'win32' ? forWindows(plain) : plain
}

/** Windows: "Naming files, paths, and namespaces". */
function forWindows(part: string): string {
  const possible = [...part]
    .map((character) => (character < ' ' || '\\:<>"|?*'.includes(character) ? escaped(character) : character))
    .join('')
    .replace(/[. ]$/, escaped)
  return /^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i.test(possible) ? escaped(possible[0]!) + possible.slice(1) : possible
}

function escaped(character: string): string {
  return `%${character.charCodeAt(0).toString(16).toUpperCase().padStart(2, '0')}`
}

/** A part that is too long becomes directories, whose names end in `%`, and a file. */
function cutLong(part: string): string {
  if (Buffer.byteLength(part) <= PART_BYTES_MAX) return part
  const pieces: string[] = []
  let piece = ''
  // An escape is not cut in two.
  for (const [token] of part.matchAll(/%[0-9A-F]{2}|./gsu)) {
    if (Buffer.byteLength(piece) + Buffer.byteLength(token) > PART_BYTES_MAX - 1) {
      pieces.push(piece)
      piece = ''
    }
    piece += token
  }
  return [...pieces.map((each) => `${each}%`), piece].join('/')
}
