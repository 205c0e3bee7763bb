// What a session makes of the next HEAD that it is given: a HEAD, or a function that makes one.

import type { Head } from '../format/head.ts'
import type { MakeHead, StoredHead } from './port.ts'

/** The next HEAD; null: nothing is to be changed. A function is given the stored HEAD, which must be there. */
export async function headFrom(next: Head | MakeHead, stored: StoredHead | null): Promise<Head | null> {
  if (typeof next !== 'function') return next
  if (stored === null) throw new Error('bug: a HEAD was to be made from none')
  return await next(stored)
}
