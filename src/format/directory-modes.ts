// The permission bits of what is in a directory, as the text of the blob `<directory>//modes`: a JSON object, path
// below the directory → three octal digits. Paths of directories end in `/`. A name with an empty part can be no file
// of the directory.

/** Behind the directory's name and a `/`. */
export const MODES_NAME = '/modes'

/** Equal modes have equal text, in whatever order they were found. */
export function encodeModes(modes: ReadonlyMap<string, number>): string {
  const entries = [...modes].sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify(Object.fromEntries(entries.map(([path, mode]) => [`./${path}`, octal(mode)])))
}

function octal(mode: number): string {
  return (mode & 0o777).toString(8).padStart(3, '0')
}

/** Null for text that is no list of modes. */
export function parseModes(text: string): Map<string, number> | null {
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    return null
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return null
  const modes = new Map<string, number>()
  for (const [path, mode] of Object.entries(value)) {
    if (!path.startsWith('./') || typeof mode !== 'string' || !/^[0-7]{3}$/.test(mode)) return null
    modes.set(path.slice(2), Number.parseInt(mode, 8))
  }
  return modes
}
