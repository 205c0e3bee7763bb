import { createHash } from 'node:crypto'
import { lstatSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

/**
 * Everything below a directory, by relative path: what it is, its mode, its times of change to the nanosecond, and for
 * files their content. Two equal answers mean that nothing was written, removed, renamed or touched.
 */
export function tree(root: string): Record<string, string> {
  const found: Record<string, string> = {}
  function visit(path: string): void {
    const at = join(root, path)
    const { mode, mtimeNs, ctimeNs, ino } = lstatSync(at, { bigint: true })
    const isDirectory = lstatSync(at).isDirectory()
    const content = isDirectory ? 'directory' : createHash('sha256').update(readFileSync(at)).digest('hex')
    found[path] = `${content} mode ${mode.toString(8)} inode ${ino} written ${mtimeNs} changed ${ctimeNs}`
    if (isDirectory) for (const name of readdirSync(at)) visit(join(path, name))
  }
  visit('.')
  return found
}

/** Relative paths of all files below a directory, sorted. */
export function files(root: string): string[] {
  return readdirSync(root, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => join(entry.parentPath, entry.name).slice(root.length + 1))
    .sort()
}
