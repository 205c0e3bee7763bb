// The exit codes of the command line: a contract with scripts and cron jobs. docs/command-line.md has the table.

import type { ErrorKind } from '../errors.ts'

export const EXIT = {
  done: 0,
  unexpected: 1,
  usage: 2,
  damaged: 10,
  busy: 11,
  conflict: 12,
  environment: 13,
  unsupported: 14,
  input: 15,
  tooOld: 16,
} as const

export type ExitCode = (typeof EXIT)[keyof typeof EXIT] | 130 | 143

/** What a failure is about: the kinds of `HoldfastError`, and those that only a command line has. */
export type FailureKind = ErrorKind | 'usage' | 'interrupted' | 'unexpected'

export const SIGNAL_EXITS = { SIGINT: 130, SIGTERM: 143 } as const

export type StopSignal = keyof typeof SIGNAL_EXITS

/** The exit code of a failure that no signal caused. */
export function exitCodeOf(kind: FailureKind): ExitCode {
  return kind === 'interrupted' ? SIGNAL_EXITS.SIGINT : EXIT[kind]
}
