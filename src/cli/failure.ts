// What a command says when it fails: what happened, what is safe, and the next command to type.

import { plainValue } from './document.ts'
import { EXIT, type ExitCode, exitCodeOf, type FailureKind, SIGNAL_EXITS, type StopSignal } from './exit-codes.ts'
import type { Target } from './no-space.ts'

/** Something that the command line itself refuses. */
export class Refusal extends Error {
  readonly code: string
  readonly kind: FailureKind
  readonly details: Readonly<Record<string, unknown>>
  /** The next command to type, without the store; null if there is none. */
  readonly next: string | null

  constructor(
    code: string,
    kind: FailureKind,
    message: string,
    options: { details?: Record<string, unknown>; next?: string | null } = {},
  ) {
    super(message)
    this.name = 'Refusal'
    this.code = code
    this.kind = kind
    this.details = options.details ?? {}
    this.next = options.next ?? null
  }
}

/** Arguments that make no sense. Nothing was opened. */
export function usage(message: string): Refusal {
  return new Refusal('USAGE', 'usage', message)
}

/** The reason of the abort that a signal causes. */
export class Interrupted extends Error {
  readonly signal: StopSignal

  constructor(signal: StopSignal) {
    super(`stopped by ${signal}`)
    this.name = 'Interrupted'
    this.signal = signal
  }
}

/** A failure as `--json` writes it. */
interface Failure {
  code: string
  kind: FailureKind
  message: string
  details: unknown
  next: string | null
}

/** What is known of the command that failed. */
export interface Attempt {
  /** The verb; null when the arguments did not get that far. */
  verb: string | null
  /** The arguments as they were typed, without the program. */
  argv: readonly string[]
  /** The store as it was given with --store; null if it was not. */
  store: string | null
  /** What is safe when a signal stopped it. */
  whenStopped?: string | undefined
  /** Where the store is: a directory, absolute, or a bucket; null if it was not said. */
  location?: string | null | undefined
  /** What it writes outside of the store. */
  target?: Target | null | undefined
}

/** What is said of an error. Loads the library only for errors that are not the program's own. */
export async function failureOf(
  thrown: unknown,
  attempt: Attempt,
): Promise<{ failure: Failure; exit: ExitCode; safe: string }> {
  const error = isRefusedArgument(thrown) ? usage(thrown.message) : thrown
  if (error instanceof Interrupted) {
    const failure: Failure = {
      code: 'INTERRUPTED',
      kind: 'interrupted',
      message: error.message,
      details: { signal: error.signal },
      next: null,
    }
    return { failure, exit: SIGNAL_EXITS[error.signal], safe: attempt.whenStopped ?? 'The store is as it was.' }
  }
  if (error instanceof Refusal) {
    const { code, kind, message, details, next } = error
    const help = kind === 'usage' ? `${attempt.verb ?? ''} --help`.trimStart() : null
    const failure: Failure = {
      code,
      kind,
      message,
      details: plainValue(details),
      next: withStore(next ?? help, attempt),
    }
    return { failure, exit: exitCodeOf(kind), safe: safeAfter(kind, code) }
  }
  const { isHoldfastError } = await import('../index.ts')
  if (isHoldfastError(error)) {
    const { code, kind } = error
    const room = code === 'NO_SPACE' ? await roomAfter(error, attempt) : null
    const { message, details, command } = room ?? {
      ...error,
      message: error.message,
      command: nextAfter(code, kind, attempt),
    }
    const next = withStore(command, attempt)
    return {
      failure: { code, kind, message, details: plainValue(details), next },
      exit: EXIT[kind],
      safe: safeAfter(kind, code),
    }
  }
  const message = error instanceof Error ? error.message : String(error)
  const details = error instanceof Error ? { name: error.name, stack: error.stack } : {}
  const failure: Failure = { code: 'UNEXPECTED', kind: 'unexpected', message, details: plainValue(details), next: null }
  return { failure, exit: EXIT.unexpected, safe: '' }
}

/** What the library says of an argument begins with the method: `scrub: this is not a cursor …`. */
function isRefusedArgument(error: unknown): error is Error {
  return (error instanceof TypeError || error instanceof RangeError) && /^[a-z][A-Za-z.]*: /.test(error.message)
}

function safeAfter(kind: FailureKind, code: string): string {
  if (code === 'COMMIT_UNKNOWN' || code === 'CHANGE_UNKNOWN') {
    return 'The state before or the new one is stored, whole; nothing that either needs was deleted.'
  }
  switch (kind) {
    case 'damaged':
      return 'Nothing was changed, and nothing is deleted.'
    case 'environment':
      return 'What was stored before is unchanged.'
    case 'unexpected':
      return ''
    default:
      return 'Nothing was changed.'
  }
}

/** Whose room it was, how much is free there, and what helps. */
async function roomAfter(
  { message, details }: { message: string; details: Readonly<Record<string, unknown>> },
  { verb, location = null, target = null }: Attempt,
): Promise<{ message: string; details: unknown; command: string | null } | null> {
  const { roomFor } = await import('./no-space.ts')
  const path = typeof details.path === 'string' ? details.path : null
  const room = roomFor(path, details.code === 'EDQUOT', { verb, location, target })
  if (room === null) return null
  const { advice, next: command, ...facts } = room
  return { message: `${message}. ${advice}`, details: { ...details, ...facts }, command }
}

/** The command that helps after an error of the library. */
function nextAfter(code: string, kind: FailureKind, { argv }: Attempt): string | null {
  const byCode: Record<string, string | null> = {
    STORE_ROLLED_BACK: 'repair --dry-run --rolled-back newer',
    STORE_DAMAGED: 'repair --dry-run',
    HEAD_MISSING: 'repair --dry-run',
    HEAD_DAMAGED: 'repair --dry-run',
    JOURNAL_DAMAGED: 'repair --dry-run --journal skip',
    HEAD_CONFLICT: 'snapshots',
    SNAPSHOT_GONE: 'snapshots',
    SNAPSHOT_NOT_FOUND: 'snapshots',
    SNAPSHOT_CURRENT: 'snapshots',
    SNAPSHOT_TAGGED: 'snapshots',
    NO_SNAPSHOT: 'snapshots',
    BLOB_NOT_FOUND: 'show',
    NOT_IN_QUARANTINE: 'quarantine',
    ENGINE_MISMATCH: 'show',
    SOURCE_CHANGED: again(argv),
    COMMIT_UNKNOWN: 'doctor',
    // It may be anybody's room: `roomAfter` says whose.
    NO_SPACE: null,
    // The message says which package to install.
    PACKAGE_MISSING: null,
  }
  if (Object.hasOwn(byCode, code)) return byCode[code]!
  if (kind === 'damaged') return 'verify'
  if (kind === 'busy') return argv.includes('--lock-wait') ? again(argv) : `${again(argv)} --lock-wait 5m`
  if (kind === 'environment') return 'doctor'
  return null
}

/** The same command, without what `withStore` adds. */
function again(argv: readonly string[]): string {
  const kept: string[] = []
  for (let i = 0; i < argv.length; i++) {
    if (argv[i] === '-s' || argv[i] === '--store') i += 1
    else if (!/^(--store=|-s.)/.test(argv[i]!)) kept.push(quoted(argv[i]!))
  }
  return kept.join(' ')
}

function withStore(command: string | null, { store }: Attempt): string | null {
  return command === null ? null : commandLine(command, store)
}

/** A whole command line: with the program and, if it was not taken from the environment, the store. */
export function commandLine(command: string, store: string | null): string {
  const takesStore = store !== null && !/(^|\s)--help$/.test(command)
  return `holdfast ${command}${takesStore ? ` --store ${quoted(store)}` : ''}`
}

/** A word as a POSIX shell takes it. */
function quoted(word: string): string {
  return /^[\w@%+=:,./~^-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}
