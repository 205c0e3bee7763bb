/** What long work reports while it runs. Byte counts are of uncompressed blob bytes. */
export type Progress =
  | { phase: 'waiting'; waitedMs: number }
  | { phase: 'reading'; blob: string; bytes: number; totalBytes: number | null; writtenBytes: number }
  | { phase: 'compacting'; bytes: number; totalBytes: number }
  | { phase: 'committing' }
  | { phase: 'copying'; bytes: number; totalBytes: number }
  | { phase: 'exporting'; bytes: number; totalBytes: number }
  /** Of the file: its size is not known when it is a stream. */
  | { phase: 'importing'; bytes: number; totalBytes: number | null }
  | { phase: 'verifying'; bytes: number; totalBytes: number }
  | { phase: 'loading'; blob: string; bytes: number; totalBytes: number }

/** Called with how far an operation is. */
export type OnProgress = (progress: Progress) => void

/** Something the caller should know although the operation goes on. */
export interface Warning {
  code:
    | 'FALLBACK'
    | 'QUARANTINED'
    | 'SLOW_HASH'
    | 'LONG_LOCK_WAIT'
    | 'SWEEP_FAILED'
    | 'MANY_DROPPED'
    | 'COMPACTION_SKIPPED'
    | 'COMPRESSION_FAILED'
    | 'SNAPSHOT_NOT_DISPOSED'
    | 'IMAGE_ALONE'
    | 'JOURNAL_GROWS'
    | 'JOURNAL_AHEAD'
  message: string
  details: Readonly<Record<string, unknown>>
}

/** Called with what a caller should know although the operation goes on. */
export type OnWarning = (warning: Warning) => void

/** The default `onWarning`. */
export function emitProcessWarning(warning: Warning): void {
  process.emitWarning(warning.message, { type: 'HoldfastWarning', code: warning.code })
}
