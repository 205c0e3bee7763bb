import { HoldfastError, isDamage } from '../errors.ts'
import type { Environment } from './environment.ts'
import { noteBadBlock, openPacks } from './environment.ts'
import { scanPack } from './scan-pack.ts'
import type { Problem } from './verify.ts'

/** How far one slice goes. Without a limit a slice is a whole round. */
export interface ScrubOptions {
  /** Stop after about this many bytes. */
  maxBytes?: number
  /** Stop after about this many milliseconds. */
  maxMs?: number
  /** Where the slice before stopped; default: where this store object's last slice did. Keep it across restarts. */
  cursor?: string | null
  signal?: AbortSignal
}

export interface ScrubReport {
  ok: boolean
  problems: Problem[]
  checked: { blocks: number; bytes: number }
  /** Give it to the next slice; null when the round is complete. */
  cursor: string | null
}

/**
 * Verifies the stored bytes a slice at a time, pack after pack in the order of their names, so that a server can check a large store
 * over days. Packs that come and go between slices are met in the next round. Changes nothing; what is found bad is not deduplicated
 * against by later persists of the same store object, which record it.
 */
export async function scrub(env: Environment, options: ScrubOptions = {}): Promise<ScrubReport> {
  const startMs = performance.now()
  const { maxBytes = Number.POSITIVE_INFINITY, maxMs = Number.POSITIVE_INFINITY, signal } = options
  const report: ScrubReport = { ok: true, problems: [], checked: { blocks: 0, bytes: 0 }, cursor: null }
  const stored = await env.storage.readHead()
  if (stored === null) return report
  const from = parseCursor(options.cursor ?? null)
  const names = stored.head.packs
    .map(({ name }) => name)
    .sort()
    .filter((name) => from === null || name >= from.pack)

  for (const name of names) {
    const { packs, failures } = await openPacks(env, stored, [name])
    for (const error of failures) if (await isNamed(env, name)) report.problems.push(problem(error, name))
    for (const pack of packs) {
      try {
        const index = await pack.index()
        const first = from?.pack === name ? Math.min(from.block, index.blocks) : 0
        for await (const step of scanPack(pack.file, index, first)) {
          signal?.throwIfAborted()
          report.checked.blocks += step.blocks
          report.checked.bytes += step.bytes
          for (const { entry, error } of step.bad) {
            noteBadBlock(env, name, index.digest(entry))
            report.problems.push({ ...problem(error, name), block: Buffer.from(index.digest(entry)).toString('hex') })
          }
          if (report.checked.bytes >= maxBytes || performance.now() - startMs >= maxMs) {
            report.ok = report.problems.length === 0
            report.cursor = `${name}:${step.done}`
            return report
          }
        }
      } catch (error) {
        if (!isDamage(error)) throw error
        report.problems.push(problem(error, name))
      } finally {
        await pack.release()
      }
    }
  }
  report.ok = report.problems.length === 0
  return report
}

/** A pack that went while we came to it is not missing. */
async function isNamed(env: Environment, name: string): Promise<boolean> {
  const stored = await env.storage.readHead()
  return stored?.head.packs.some((pack) => pack.name === name) ?? false
}

function problem(error: unknown, pack: string): Problem {
  return {
    code: error instanceof HoldfastError ? error.code : 'PACK_DAMAGED',
    what: `pack ${pack}`,
    message: (error as Error).message,
    pack,
  }
}

function parseCursor(cursor: string | null): { pack: string; block: number } | null {
  if (cursor === null) return null
  const match = /^([0-9a-f]{64}):(\d+)$/.exec(cursor)
  if (match === null) throw new TypeError(`scrub: this is not a cursor of a slice before: ${JSON.stringify(cursor)}`)
  return { pack: match[1]!, block: Number(match[2]) }
}
