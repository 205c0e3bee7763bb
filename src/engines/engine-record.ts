// The record of an engine in a snapshot's metadata: which engine, layout and options its blobs are of, and whether an
// adapter may read them.

import type { EngineState } from '../encodings/engine-state.ts'
import { ENGINE_KEY } from '../format/engine-file.ts'
import { HoldfastError, type Snapshot } from '../index.ts'
import { type FileRecord, parseFileRecord } from '../load/engine-file.ts'

/** The one reserved key of the metadata. */
export const KEY = ENGINE_KEY
const RECORD = 1

/** The metadata key `engine` of a snapshot. */
export interface EngineRecord {
  record: number
  name: string
  layout: number
  version?: string
  options: Record<string, unknown>
  state?: Record<string, unknown>
  /** The file that the engine saved; absent where its adapter saves none. */
  file?: FileRecord
}

/** Where an adapter may put files in between. */
type InBetween = { temporaryDirectory?: string | undefined }

/** What an adapter says of its blobs. See `EngineAdapter`. */
interface AdapterIdentity {
  readonly name: string
  readonly layout: number
  readonly options: Readonly<Record<string, unknown>>
  readonly version?: string | undefined
  recorded?(saved: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>>
  refuses?(saved: EngineRecord, context: InBetween): string | undefined
}

/** The record of what an adapter saved. */
export function recordOf(adapter: AdapterIdentity, state: EngineState, file: FileRecord | undefined): EngineRecord {
  const version = state.version ?? adapter.version
  return {
    record: RECORD,
    name: adapter.name,
    layout: adapter.layout,
    ...(version === undefined ? {} : { version }),
    options: { ...adapter.options },
    ...(state.metadata === undefined ? {} : { state: state.metadata }),
    ...(file === undefined ? {} : { file }),
  }
}

/** The record that `persistEngine` left in a snapshot's metadata; null when there is none that can be understood. */
export function engineRecord(metadata: unknown): EngineRecord | null {
  if (!isMap(metadata) || !Object.hasOwn(metadata, KEY)) return null
  const record = metadata[KEY]
  if (!isMap(record)) return null
  const { record: version, name, layout, options, state, file } = record
  const ok =
    typeof version === 'number' &&
    typeof name === 'string' &&
    typeof layout === 'number' &&
    isMap(options) &&
    (state === undefined || isMap(state)) &&
    (file === undefined || parseFileRecord(record) !== null) &&
    (record.version === undefined || typeof record.version === 'string')
  return ok ? (record as unknown as EngineRecord) : null
}

/** Whether the blobs that two records are of are the same: those of one file, split alike. */
export function sameBlobs(a: EngineRecord, b: EngineRecord): boolean {
  if (a.file === undefined || b.file === undefined) return false
  const [one, other] = [a, b].map(({ record, name, layout, options, file }) => ({
    record,
    name,
    layout,
    options,
    file,
  }))
  return firstDifference(one, other, '') === null
}

/** @throws ENGINE_MISMATCH when the adapter cannot read what the snapshot holds */
export function assertFits(
  adapter: AdapterIdentity,
  snapshot: Snapshot<string, unknown>,
  context: InBetween,
): EngineRecord {
  const { sequence } = snapshot
  const saved = engineRecord(snapshot.metadata)
  if (saved === null) {
    throw mismatch(sequence, 'name', null, adapter.name, `it holds no engine, and ${adapter.name} was asked for`)
  }
  if (saved.record > RECORD) {
    const why = `its engine record is of version ${saved.record}, and this holdfast reads up to ${RECORD}`
    throw mismatch(sequence, 'record', saved.record, RECORD, why)
  }
  if (saved.name !== adapter.name) {
    const why = `it holds ${saved.name}, and ${adapter.name} was asked for`
    throw mismatch(sequence, 'name', saved.name, adapter.name, why)
  }
  if (saved.layout > adapter.layout) {
    const why = `its layout ${saved.layout} is newer than ${adapter.layout}, the newest that this adapter of ${adapter.name} reads`
    throw mismatch(sequence, 'layout', saved.layout, adapter.layout, why)
  }
  const options = adapter.recorded?.(saved.options) ?? saved.options
  const different = firstDifference(options, adapter.options, 'options')
  if (different !== null) {
    const { path, a, b } = different
    const why = `${saved.name} was saved with ${path} = ${show(a)}, and is to be restored with ${show(b)}`
    throw mismatch(sequence, path, a, b, why)
  }
  const refused = adapter.refuses?.(saved, context)
  if (refused !== undefined) {
    const versions = `saved by ${saved.name} ${saved.version ?? 'of unknown version'}, restoring with ${adapter.version ?? 'unknown version'}`
    throw mismatch(sequence, 'version', saved.version ?? null, adapter.version ?? null, `${refused} (${versions})`)
  }
  return saved
}

function mismatch(sequence: number, what: string, saved: unknown, wanted: unknown, why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `snapshot ${sequence} cannot be restored by this adapter: ${why}`, {
    details: { sequence, what, saved, wanted },
  })
}

interface Difference {
  path: string
  a: unknown
  b: unknown
}

/** Where two plain values differ first; the order of keys does not count. */
function firstDifference(a: unknown, b: unknown, path: string): Difference | null {
  if (Array.isArray(a) && Array.isArray(b)) {
    if (a.length !== b.length) return { path, a, b }
    for (let i = 0; i < a.length; i++) {
      const different = firstDifference(a[i], b[i], `${path}[${i}]`)
      if (different !== null) return different
    }
    return null
  }
  if (a instanceof Uint8Array && b instanceof Uint8Array) return Buffer.compare(a, b) === 0 ? null : { path, a, b }
  if (isMap(a) && isMap(b)) {
    for (const key of [...new Set([...Object.keys(a), ...Object.keys(b)])].sort()) {
      const left = Object.hasOwn(a, key) ? a[key] : undefined
      const right = Object.hasOwn(b, key) ? b[key] : undefined
      const different = firstDifference(left, right, `${path}.${key}`)
      if (different !== null) return different
    }
    return null
  }
  return Object.is(a, b) ? null : { path, a, b }
}

function isMap(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value)
}

function show(value: unknown): string {
  if (value === undefined) return 'nothing'
  const text = JSON.stringify(value, (_key, part) => (typeof part === 'bigint' ? `${part}n` : part)) ?? String(value)
  return text.length > 120 ? `${text.slice(0, 117)}…` : text
}
