/** What a caller can do about an error; also the exit classes of the command line. */
export type ErrorKind = 'damaged' | 'busy' | 'conflict' | 'environment' | 'unsupported' | 'input'

const kinds = {
  // What lies in the store is not what was written.
  STORE_DAMAGED: 'damaged',
  STORE_ROLLED_BACK: 'damaged',
  HEAD_MISSING: 'damaged',
  HEAD_DAMAGED: 'damaged',
  HEAD_FORKED: 'damaged',
  SNAPSHOT_DAMAGED: 'damaged',
  PACK_MISSING: 'damaged',
  PACK_DAMAGED: 'damaged',
  BLOB_DAMAGED: 'damaged',
  JOURNAL_DAMAGED: 'damaged',
  JOURNAL_GAP: 'damaged',
  // Somebody else is using it. Try again later.
  STORE_LOCKED: 'busy',
  JOURNAL_LOCKED: 'busy',
  JOURNAL_BUSY: 'busy',
  JOURNAL_FULL: 'busy',
  // Something changed between two looks.
  HEAD_CONFLICT: 'conflict',
  DIVERGED: 'conflict',
  SOURCE_CHANGED: 'conflict',
  SNAPSHOT_GONE: 'conflict',
  PACK_GONE: 'conflict',
  SNAPSHOT_BEHIND: 'conflict',
  SNAPSHOT_AHEAD: 'conflict',
  REPLAY_FAILED: 'conflict',
  ENGINE_UNSOUND: 'conflict',
  // The machine or the file system refuses.
  COMMIT_UNKNOWN: 'environment',
  CHANGE_UNKNOWN: 'environment',
  JOURNAL_FAILED: 'environment',
  SAVE_TIMEOUT: 'environment',
  IO_FAILED: 'environment',
  NO_SPACE: 'environment',
  LOCK_UNAVAILABLE: 'environment',
  NO_SNAPSHOT: 'environment',
  DECOMPRESSION_UNAVAILABLE: 'environment',
  PACKAGE_MISSING: 'environment',
  // This version cannot do it.
  NOT_A_STORE: 'unsupported',
  VERSION_UNSUPPORTED: 'unsupported',
  COMPRESSION_UNSUPPORTED: 'unsupported',
  FILES_UNSUPPORTED: 'unsupported',
  JOURNAL_UNSUPPORTED: 'unsupported',
  STORAGE_UNSUPPORTED: 'unsupported',
  ENGINE_CHECK_FAILED: 'unsupported',
  ENGINE_FAILED: 'unsupported',
  // The caller gave something that cannot be kept, found or done.
  READ_ONLY: 'input',
  STORE_CLOSED: 'input',
  SNAPSHOT_DISPOSED: 'input',
  SNAPSHOT_NOT_FOUND: 'input',
  SNAPSHOT_CURRENT: 'input',
  SNAPSHOT_TAGGED: 'input',
  BLOB_NOT_FOUND: 'input',
  NOT_IN_QUARANTINE: 'input',
  BLOB_NAME_INVALID: 'input',
  METADATA_INVALID: 'input',
  SCHEMA_MISMATCH: 'input',
  ENGINE_MISMATCH: 'input',
  ENGINE_VALUE_INVALID: 'input',
  SOURCE_FAILED: 'input',
  CAR_INVALID: 'input',
  TARGET_EXISTS: 'input',
  LIMIT_EXCEEDED: 'input',
  COVERS_REQUIRED: 'input',
  ENTRIES_UNSAVED: 'input',
} as const satisfies Record<string, ErrorKind>

/** Stable; part of the API. `docs/errors.md` says what each one means and what to do. */
export type ErrorCode = keyof typeof kinds

/** Facts about one error: which path, blob, CID, pack, limit. Keys are documented per code in `docs/errors.md`. */
export type ErrorDetails = Readonly<Record<string, unknown>>

const brand = Symbol.for('holdfast.error')

/** The one error class. Match on `code` or `kind`, never on the message. Misuse of the API is a `TypeError` instead. */
export class HoldfastError<Code extends ErrorCode = ErrorCode> extends Error {
  readonly code: Code
  readonly kind: ErrorKind
  readonly details: ErrorDetails

  constructor(code: Code, message: string, options: { details?: ErrorDetails; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'HoldfastError'
    this.code = code
    this.kind = kinds[code]
    this.details = options.details ?? {}
    Object.defineProperty(this, brand, { value: true })
  }
}

/**
 * Whether `error` is holdfast's, and (when given) of one of these codes. Works across realms and across two copies of
 * the package, where `instanceof` does not.
 */
export function isHoldfastError<Code extends ErrorCode = ErrorCode>(
  error: unknown,
  ...codes: Code[]
): error is HoldfastError<Code> {
  if (typeof error !== 'object' || error === null || !(brand in error)) return false
  return codes.length === 0 || codes.includes((error as unknown as HoldfastError<Code>).code)
}

/** Whether `error` says that stored bytes are missing or not what was written: the only reason to fall back. */
export function isDamage(error: unknown): error is HoldfastError {
  return isHoldfastError(error) && error.kind === 'damaged'
}
