// What repairs and writers moved aside: lists it, copies it out, and deletes it when it is asked to. Nothing is put
// back: `repair` adopts packs.

import type { StoreContext } from '../blocks/store-context.ts'
import { HoldfastError } from '../errors.ts'
import { watchWait } from '../history/write-guards.ts'
import { writeBlob } from '../load/write-out.ts'
import { pathOf } from '../location.ts'
import { assertOptions } from '../misuse.ts'
import type { Quarantined as Found } from '../storage/port.ts'
import { term } from '../terms.ts'

/** Something in quarantine. What its note does not say is null. */
export interface QuarantinedFile {
  /** In `quarantine/`. */
  name: string
  bytes: number
  isDirectory: boolean
  /** The path that it had. */
  original: string | null
  /** Why it was moved there, such as `damaged` or `before-repair`. */
  reason: string | null
  time: Date | null
  /** More facts, as the note has them. */
  details: Readonly<Record<string, unknown>>
}

/** Which files `quarantine.discard` deletes: those moved there before a time, or those named. */
export type DiscardWhich = { olderThan: Date } | { names: readonly string[] }

/** What was moved aside. Nothing is put back from here: `repair` adopts packs. */
export interface Quarantine {
  /** By name. */
  list(): Promise<QuarantinedFile[]>
  /** @throws NOT_IN_QUARANTINE */
  show(name: string): Promise<QuarantinedFile>
  /** Copies a file out, durably. Replaces what is at `path`. `NOT_IN_QUARANTINE`. */
  extract(name: string, path: string | URL): Promise<void>
  /**
   * Deletes files with their notes, and answers their names. With a name that is not there nothing is deleted
   * (`NOT_IN_QUARANTINE`).
   */
  discard(which: DiscardWhich): Promise<string[]>
}

export function createQuarantine(ctx: StoreContext, lockWaitMs: number): Quarantine {
  async function list(): Promise<QuarantinedFile[]> {
    return ((await ctx.storage.beside?.quarantine()) ?? []).map(described)
  }

  async function show(name: string): Promise<QuarantinedFile> {
    return named(await list(), name)
  }

  function named(files: readonly QuarantinedFile[], name: string): QuarantinedFile {
    const found = files.find((each) => each.name === name)
    if (found !== undefined) return found
    throw new HoldfastError(
      'NOT_IN_QUARANTINE',
      `there is nothing of the name ${JSON.stringify(name)} in quarantine of ${ctx.storage.location}; ${term('listQuarantine')} gives the names`,
      { details: { name } },
    )
  }

  return {
    list,
    show,
    async extract(name, path) {
      await show(name)
      await writeBlob(ctx.fs, pathOf(path, 'quarantine.extract'), ctx.storage.beside!.read(name), ctx.storage.location)
    },
    async discard(which) {
      assertWhich(which)
      // With the lock, so that a repair does not move files there meanwhile. Also in a store that is damaged.
      const options = { waitMs: lockWaitMs, repair: true, onWait: watchWait(ctx, undefined) }
      return await ctx.storage.write(options, async () => {
        const files = await list()
        const chosen =
          'names' in which
            ? which.names.map((name) => named(files, name))
            : files.filter(({ time }) => time !== null && time < which.olderThan)
        for (const { name } of chosen) await ctx.storage.beside!.discard(name)
        return chosen.map(({ name }) => name)
      })
    },
  }
}

function described({ time, ...rest }: Found): QuarantinedFile {
  const date = time === null ? null : new Date(time)
  return { ...rest, time: date === null || Number.isNaN(date.getTime()) ? null : date }
}

function assertWhich(which: DiscardWhich): void {
  assertOptions('quarantine.discard', which, { olderThan: 'any', names: 'any' })
  const { olderThan, names } = (which ?? {}) as { olderThan?: unknown; names?: unknown }
  if ((olderThan === undefined) === (names === undefined)) {
    throw new TypeError('quarantine.discard: give olderThan, a Date, or names')
  }
  if (olderThan !== undefined && !(olderThan instanceof Date && !Number.isNaN(olderThan.getTime()))) {
    throw new TypeError('quarantine.discard: olderThan must be a Date')
  }
  if (names !== undefined && !(Array.isArray(names) && names.every((name) => typeof name === 'string'))) {
    throw new TypeError('quarantine.discard: names must be a list of names')
  }
}
