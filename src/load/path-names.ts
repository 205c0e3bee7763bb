// Which blob names can be paths below a directory, on the system that writes them out.

/**
 * What is wrong with a relative path (parts separated by `/`) as a file of its own below a directory; null when nothing
 * is. A name that came from this system is taken. Whether a file system can tell two names apart is known only when
 * they are written.
 */
export function wrongPart(path: string, platform: string): string | null {
  return path.split('/').find((part) => leadsOut(part) || (platform === 'win32' && !isWindowsName(part))) ?? null
}

function leadsOut(part: string): boolean {
  return part === '' || part === '.' || part === '..' || part.includes('\0')
}

/**
 * `\` separates, `:` begins a stream, the others are refused or mean a device (Windows: "Naming files, paths, and
 * namespaces").
 */
function isWindowsName(part: string): boolean {
  if (/[\\:<>"|?*]/.test(part) || [...part].some((character) => character < ' ')) return false
  return !/[. ]$/.test(part) && !/^(con|prn|aux|nul|com\d|lpt\d)(\.|$)/i.test(part)
}

/** The first path that is a file, and by another path a directory; null when there is none. */
export function fileAndDirectory(files: ReadonlySet<string>, directories: readonly string[]): string | null {
  for (const path of [...files, ...directories.map((directory) => `${directory}/`)]) {
    for (let end = path.indexOf('/'); end !== -1; end = path.indexOf('/', end + 1)) {
      if (files.has(path.slice(0, end))) return path.slice(0, end)
    }
  }
  return null
}
