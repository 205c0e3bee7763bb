// Which packages are bundled: a comment says which file each part of `dist/` is from.

import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const dist = fileURLToPath(new URL('../../dist/', import.meta.url))

/** Their names, sorted. */
export function bundledPackages(): string[] {
  const files = readdirSync(dist, { recursive: true, encoding: 'utf8' }).filter((path) => path.endsWith('.js'))
  const names = files.flatMap((path) => {
    const comments = readFileSync(join(dist, path), 'utf8').matchAll(
      /^ *\/\/ (?:.*\/)?node_modules\/((?:@[^/\n]+\/)?[^/\n]+)\//gm,
    )
    return [...comments].map(([, name]) => name!)
  })
  return [...new Set(names)].sort()
}
