import { mkdirSync, readFileSync, renameSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import type { Absent } from './subject.ts'

/** An engine of `bench/engines/`, and its version; or null where it is not installed or does not load. */
export function nativeEngine<Module>(root: string, name: string): { module: Module; version: string } | null {
  const require = createRequire(join(root, 'bench', 'engines', 'package.json'))
  try {
    const module = require(name) as Module
    const manifest = readFileSync(join(root, 'bench', 'engines', 'node_modules', name, 'package.json'), 'utf8')
    return { module, version: (JSON.parse(manifest) as { version: string }).version }
  } catch {
    return null
  }
}

export function absent(name: string): Absent {
  return { name, missing: 'it is not installed: `npm run engines`' }
}

/** Makes a file once, whole, and answers its path: what takes minutes to build is built for the first run alone. */
export function madeOnce(path: string, exists: (path: string) => boolean, make: (path: string) => void): string {
  if (exists(path)) return path
  mkdirSync(dirname(path), { recursive: true })
  const temporary = `${path}.${process.pid}`
  make(temporary)
  renameSync(temporary, path)
  return path
}
