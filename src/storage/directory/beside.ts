// What lies in a store's directory beside HEAD and packs: the quarantine, laid-out files, the journal. It is listed and
// weighed; only what is in quarantine is ever deleted here, and only by name.

import { join } from 'node:path'
import { HoldfastError } from '../../errors.ts'
import { assertNoLink, attempt, ignoreMissing, lstatOrNull, readFileOrNull, readFully } from '../../fs/io.ts'
import { isAsideName } from '../../fs/move-aside.ts'
import type { FileSystem } from '../../fs/port.ts'
import { removeTree } from '../../fs/temps.ts'
import type { Beside, Quarantined, Weight } from '../port.ts'
import { paths } from './layout.ts'

const NOTE_SUFFIX = '.json'
/** A note is a few hundred bytes. What is larger is none of ours. */
const NOTE_BYTES_MAX = 1024 * 1024

export function besideIn(fs: FileSystem, root: string): Beside {
  const at = paths(root)

  async function quarantine(): Promise<Quarantined[]> {
    await attempt(assertNoLink(fs, at.quarantine), `looking at ${at.quarantine}`)
    const entries = (await attempt(ignoreMissing(fs.readdir(at.quarantine)), `listing ${at.quarantine}`)) ?? []
    const found: Quarantined[] = []
    for (const { name } of entries) {
      if (!isAsideName(name) || name.endsWith(NOTE_SUFFIX)) continue
      const path = join(at.quarantine, name)
      const stat = await attempt(lstatOrNull(fs, path), `looking at ${path}`)
      if (stat === null) continue
      const { bytes } = await weigh(fs, path)
      found.push({ name, bytes, isDirectory: stat.kind === 'directory', ...(await noteOf(path)) })
    }
    return found.sort((a, b) => (a.name < b.name ? -1 : 1))
  }

  async function noteOf(path: string): Promise<Pick<Quarantined, 'original' | 'reason' | 'time' | 'details'>> {
    const nothing = { original: null, reason: null, time: null, details: {} }
    try {
      const bytes = await readFileOrNull(fs, path + NOTE_SUFFIX, NOTE_BYTES_MAX)
      if (bytes === null) return nothing
      const { original, reason, time, details } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>
      const text = (value: unknown): string | null => (typeof value === 'string' ? value : null)
      const facts = typeof details === 'object' && details !== null ? (details as Record<string, unknown>) : {}
      return { original: text(original), reason: text(reason), time: text(time), details: facts }
    } catch {
      // The file itself is what matters.
      return nothing
    }
  }

  async function pathOf(name: string): Promise<string> {
    const path = join(at.quarantine, name)
    const isOurs = typeof name === 'string' && isAsideName(name) && !name.endsWith(NOTE_SUFFIX) && !/[/\\]/.test(name)
    if (isOurs && (await attempt(lstatOrNull(fs, path), `looking at ${path}`)) !== null) return path
    throw new HoldfastError('NOT_IN_QUARANTINE', `${at.quarantine} has nothing of the name ${JSON.stringify(name)}`, {
      details: { name },
    })
  }

  return {
    quarantine,
    async *read(name) {
      await attempt(assertNoLink(fs, at.quarantine), `looking at ${at.quarantine}`)
      const path = await pathOf(name)
      const stat = await attempt(lstatOrNull(fs, path), `looking at ${path}`)
      if (stat?.kind !== 'file') {
        throw new HoldfastError('IO_FAILED', `${path} is no file: copy it by hand`, {
          details: { code: 'EISDIR', syscall: 'open', path },
        })
      }
      const file = await attempt(fs.open(path, 'read'), `opening ${path}`)
      try {
        for (let position = 0; ; ) {
          const part = Buffer.allocUnsafeSlow(READ_BYTES)
          const got = await attempt(readFully(file, part, position), `reading ${path}`)
          if (got > 0) yield part.subarray(0, got)
          if (got < part.length) return
          position += got
        }
      } finally {
        await file.close()
      }
    },
    async discard(name) {
      await attempt(assertNoLink(fs, at.quarantine), `looking at ${at.quarantine}`)
      const path = await pathOf(name)
      // The note goes last: a file in quarantine always has one.
      await attempt(removeTree(fs, path), `deleting ${path}`)
      await attempt(ignoreMissing(fs.unlink(path + NOTE_SUFFIX)), `deleting ${path}${NOTE_SUFFIX}`)
    },
    async weigh(folder, counts) {
      const path = join(root, folder)
      return await attempt(weigh(fs, path, counts), `looking at ${path}`)
    },
  }
}

const READ_BYTES = 1024 * 1024

/** Files below a path, and what they take. Links are not followed. */
async function weigh(fs: FileSystem, path: string, counts: (name: string) => boolean = () => true): Promise<Weight> {
  const stat = await lstatOrNull(fs, path)
  if (stat === null || stat.kind === 'link') return { count: 0, bytes: 0 }
  if (stat.kind !== 'directory') return { count: 1, bytes: stat.size }
  const total = { count: 0, bytes: 0 }
  for (const { name } of (await ignoreMissing(fs.readdir(path))) ?? []) {
    if (!counts(name)) continue
    const { count, bytes } = await weigh(fs, join(path, name))
    total.count += count
    total.bytes += bytes
  }
  return total
}
