// What a verb of the command line is, and what it answers.

import type { Command } from 'commander'
import type { ExitCode } from './exit-codes.ts'
import type { Line, Screen } from './screen.ts'
import type { Session } from './session.ts'

/** What a verb answers: a document for programs, and lines for people. */
export interface Outcome {
  /** Fields of the document. `holdfast`, `command` and `warnings` are added. */
  document: Record<string, unknown>
  text(screen: Screen): readonly Line[]
  /** The text only says that it is done; --quiet leaves it out. */
  isNotice?: boolean
  /** Default: done. */
  exit?: ExitCode
}

/** A verb and its arguments, as its help shows them. */
export interface Verb {
  /** For commander: `rollback <snapshot>`. */
  usage: string
  summary: string
  /** What is to be known before it is used; below the summary in its own help. */
  description?: string
  /** Command lines without the program. */
  examples: readonly string[]
  /** Adds options. */
  options?(command: Command): unknown
  /** It only reads, and may be blocked by who reads its output: signals end it at once, as they do by default. */
  endsBySignal?: boolean
  /** What is safe when a signal stopped it; default: the store is as it was. */
  whenStopped?: string
  /** Null: it wrote its result itself, as bytes. */
  // biome-ignore lint/suspicious/noExplicitAny: commander checks the options, and each verb says which it has.
  run(session: Session, args: readonly string[], options: any): Promise<Outcome | null>
}
