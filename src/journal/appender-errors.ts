// Why an append is refused, or its outcome is unknown.

import { HoldfastError, isHoldfastError } from '../errors.ts'
import type { Batch } from './batch.ts'

export function busyError(pendingBytes: number, maxPendingBytes: number): HoldfastError {
  return new HoldfastError(
    'JOURNAL_BUSY',
    `Entries of ${pendingBytes} bytes wait for the disk, and at most ${maxPendingBytes} may. Wait for some of them to become durable, ` +
      'or raise maxPendingBytes',
    { details: { pendingBytes, maxPendingBytes } },
  )
}

export function fullError(uncoveredBytes: number, maxBytes: number): HoldfastError {
  return new HoldfastError(
    'JOURNAL_FULL',
    `The journal takes no entries: no snapshot covers its last ${uncoveredBytes} bytes, and at most ${maxBytes} may wait for one. Make a ` +
      'snapshot that covers them, and see why none was made, or raise maxJournalBytes',
    { details: { uncoveredBytes, maxJournalBytes: maxBytes } },
  )
}

export function failedError(cause: unknown): HoldfastError {
  return new HoldfastError(
    'JOURNAL_FAILED',
    `The journal takes no entries, because it could not write some (${messageOf(cause)}). A snapshot that covers all entries heals it`,
    { details: {}, cause },
  )
}

export function unknownError({ first, count }: Pick<Batch, 'first' | 'count'>, cause: unknown): HoldfastError {
  const last = first + count - 1
  return new HoldfastError(
    'CHANGE_UNKNOWN',
    `Entries ${first} to ${last} may be durable or not (${messageOf(cause)}). Do not append them again: a snapshot that covers them ` +
      'makes them durable',
    { details: { first, last }, cause },
  )
}

function messageOf(error: unknown): string {
  return isHoldfastError(error) || error instanceof Error ? error.message : String(error)
}
