// Serves the entries of a journal to whoever replays them: without those that the current snapshot does not want, and
// with a word on what is missing.

import type { StoreContext } from '../blocks/store-context.ts'
import { withoutRanges } from '../journal/plan-recovery.ts'
import type { ReadEntries } from '../journal/reader.ts'
import type { Range } from '../journal/segment.ts'
import { assertOptions } from '../misuse.ts'
import { type JournalEntry, READ_JOURNAL_OPTIONS, type ReadJournalOptions } from './options.ts'
import { currentCovers, rangeOf } from './place.ts'

/**
 * @param source the entries, and which of them are lost
 * @param skipped entries that were left out since the opening
 */
export function createBatchReader(
  ctx: StoreContext,
  source: { read: ReadEntries; readonly lost: readonly Range[] },
  skipped: readonly [number, number][],
  assertOpen: () => void = () => undefined,
): (request?: ReadJournalOptions) => AsyncGenerator<JournalEntry[]> {
  return async function* readBatches(request = {}) {
    assertOptions('journal.read', request, READ_JOURNAL_OPTIONS)
    assertOpen()
    const { after, acceptLoss = false } = request
    if (after !== undefined && !(Number.isSafeInteger(after) && after >= 0)) {
      throw new RangeError(`journal.read: after is a sequence, got ${after}`)
    }
    const stored = await ctx.storage.readHead()
    const covers = stored?.head.journal === undefined ? undefined : currentCovers(stored.head, stored.head.journal)
    const skips = [...(covers?.skips ?? []), ...skipped].sort(([a], [b]) => a - b).map(rangeOf)
    const begin = after ?? covers?.sequence ?? 0
    let lost = firstLost(source.lost, skips, begin)
    const onGap = (first: number): void => {
      lost = Math.min(lost, first)
    }
    const isSkipped = ({ sequence }: JournalEntry): boolean =>
      skips.some(({ first, last }) => sequence >= first && sequence <= last)
    for await (const entries of source.read(begin, acceptLoss ? onGap : undefined)) {
      const left = skips.length === 0 ? entries : entries.filter((entry) => !isSkipped(entry))
      if (left.length === 0) continue
      if (left.at(-1)!.sequence > lost) for (const entry of left) entry.afterLoss = entry.sequence > lost
      yield left
    }
  }
}

/** The first entry after `after` that was lost and would be replayed; infinite when there is none. */
function firstLost(lost: readonly Range[], skips: readonly Range[], after: number): number {
  const missing = withoutRanges(lost, skips).filter(({ last }) => last > after)
  return Math.min(Number.POSITIVE_INFINITY, ...missing.map(({ first }) => Math.max(first, after + 1)))
}
