// Bytes of all files below a path.

import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'

export function treeBytes(path: string): number {
  const stat = lstatSync(path)
  if (!stat.isDirectory()) return stat.size
  let bytes = 0
  for (const name of readdirSync(path)) if (name !== 'node_modules') bytes += treeBytes(join(path, name))
  return bytes
}
