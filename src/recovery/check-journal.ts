// What `verify` and `scrub` are told of the journal. Whoever joins the store to its journal looks at it: nothing here
// knows a journal's files.

import type { Problem } from './problem.ts'

export interface JournalCheck {
  state: 'none' | 'checked' | 'skipped'
  problems: Problem[]
}

/** Looks at the whole journal of the store, if it has one. */
export type CheckJournal = () => Promise<JournalCheck>

export const noJournal: CheckJournal = async () => ({ state: 'none', problems: [] })
