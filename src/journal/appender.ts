// Makes entries durable, many with one fdatasync. One frame is written at a time, and entries that are appended
// meanwhile go into the next frame. It starts a new segment when the current one is full, and writes a seal after a
// moment without entries.

import { clock } from '../clock.ts'
import { HoldfastError } from '../errors.ts'
import { busyError, failedError, fullError, unknownError } from './appender-errors.ts'
import { type Batch, createBatch } from './batch.ts'
import { ENTRY_BYTES_MAX, encodeNext, encodeSeal, entryBytes, frameBytes } from './frame.ts'
import { type Covered, goOn, type SegmentStart } from './plan-start.ts'
import type { Hole, Predecessor, Range, SegmentHeader, SegmentName } from './segment.ts'
import { createSegment, type SegmentPlace, type SegmentWriter } from './segment-writer.ts'

/** Maximum size of a segment. A frame that does not fit begins the next segment. */
const SEGMENT_BYTES_MAX = 64 * 1024 * 1024
/** Memory that waiting entries may take. */
export const PENDING_BYTES_MAX = 64 * 1024 * 1024
const IDLE_MS = 50
/** One buffer is written while another one is filled. */
const SPARE_BUFFERS = 2
/** Distance of the marks at which a reading may begin. Each segment starts with one. */
export const MARK_BYTES = 256 * 1024

/** A frame at which a reading may begin. */
export interface Mark {
  segment: SegmentName
  offset: number
  /** Its first entry. */
  first: number
}

/** Up to where the journal is durable. */
export interface Durable {
  segment: SegmentName
  offset: number
  sequence: number
}

/** How an entry is appended. */
export interface AppendOptions {
  /**
   * The effect of the entry is there already: `assertTakes` was called, and then it was applied. The entry is taken
   * whatever the limits are now. When the journal has failed meanwhile, it gets a sequence all the same, and `durable`
   * rejects with `CHANGE_UNKNOWN`.
   */
  applied?: boolean | undefined
}

/** The answer to an append. */
export interface Appended {
  sequence: number
  /** Settles when the entry is durable. */
  durable: Promise<void>
}

/** The frames of a segment that this owner wrote. */
interface Written {
  name: SegmentName
  from: number
  to: number
}

/** A segment that HEAD names already, or the header of one that the first append makes. */
export type AppenderStart = { writer: SegmentWriter } | { segment: SegmentStart }

interface AppenderOptions {
  place: SegmentPlace
  /** Fields that all segment headers share. */
  fixed: Pick<SegmentHeader, 'store' | 'journal' | 'changes'>

  start: AppenderStart
  /** Makes HEAD name a segment. Durable when it resolves. */
  name: (segment: SegmentName) => Promise<void>
  /** Throws when another owner may be at work. Called for each frame, before its entries are acknowledged. */
  assertHeld: () => Promise<void>
  maxPendingBytes: number
  /** Maximum size on disk of entries that no snapshot covers. */
  maxBytes: number
  /** Size on disk of the entries that were found and that no snapshot covers. */
  uncoveredBytes: number
  /** Smaller for tests. */
  segmentBytesMax?: number | undefined
}

export interface Appender {
  /** The last sequence that was given out. */
  readonly last: number
  readonly durable: Durable | null
  readonly pendingBytes: number
  /** Size on disk of entries that no snapshot covers. May be too large by the distance of two marks. */
  readonly uncoveredBytes: number
  readonly failed: unknown
  /** Sequences that no frame has. */
  readonly holes: readonly Hole[]
  /** The segments that this owner wrote, oldest first, and up to where they are durable. */
  written(): Written[]
  append(data: Uint8Array, options?: AppendOptions): Appended
  /** @throws what `append` would for an entry of this size */
  assertTakes(dataBytes: number): void
  /** Called when a snapshot covers entries, with the size of those that are left. */
  setUncovered(bytes: number): void
  /** Resolves when all that was appended is durable. */
  flush(): Promise<void>
  /** Resolves when this entry is durable. */
  waitFor(sequence: number): Promise<void>
  /** The latest mark at or before an entry. */
  markFor(sequence: number): Mark | null
  /** Called with a snapshot that covers all entries. A journal that failed continues in a new segment. */
  heal(covered: Covered): Promise<void>
  /**
   * Continues in a new segment, whose header has these skips: a rollback stepped over entries. All entries are durable,
   * and none is appended meanwhile.
   */
  stepOver(skips: Range[], covered: Covered): Promise<void>
  close(): Promise<void>
}

export function createAppender(options: AppenderOptions): Appender {
  const { place, fixed, name, assertHeld, maxPendingBytes, maxBytes, segmentBytesMax = SEGMENT_BYTES_MAX } = options
  let writer = 'writer' in options.start ? options.start.writer : null
  let start = 'segment' in options.start ? options.start.segment : null
  let last = writer?.last ?? start!.first - 1
  let durable: Durable | null = writer === null ? null : durableOf(writer)
  let sealed = writer !== null
  let failed: unknown = null
  let closed = false
  let pendingBytes = 0
  let { uncoveredBytes } = options
  let working: Promise<void> | null = null
  let idleTimer: NodeJS.Timeout | undefined
  const queue: Batch[] = []
  const spare: Uint8Array[] = []
  let inFlight: Batch | null = null
  /** Number of the newest segment. No number is used twice. */
  let number = writer?.name.number ?? start!.number - 1
  const full: Written[] = []
  const marks: Mark[] =
    writer === null ? [] : [{ segment: writer.name, offset: writer.start, first: writer.header.first }]

  function assertOpen(): void {
    if (closed) throw new HoldfastError('STORE_CLOSED', 'the journal was closed; open it again', { details: {} })
    if (failed !== null) throw failedError(failed)
  }

  function assertTakes(dataBytes: number): void {
    if (!(typeof dataBytes === 'number' && dataBytes >= 0))
      throw new RangeError(`journal.assertTakes: give a number of bytes, not ${String(dataBytes)}`)
    assertOpen()
    if (dataBytes > ENTRY_BYTES_MAX) {
      throw new HoldfastError(
        'LIMIT_EXCEEDED',
        `An entry of the journal has at most ${ENTRY_BYTES_MAX} bytes, not ${dataBytes}. Split it into several`,
        { details: { limit: 'entryBytes', max: ENTRY_BYTES_MAX, actual: dataBytes } },
      )
    }
    const bytes = pendingBytes + entryBytes(dataBytes)
    if (uncoveredBytes + frameBytes(bytes) > maxBytes) throw fullError(uncoveredBytes, maxBytes)
    if (pendingBytes > 0 && bytes > maxPendingBytes) throw busyError(pendingBytes, maxPendingBytes)
  }

  function written(): Written[] {
    return [...full, ...(writer === null ? [] : [{ name: writer.name, from: writer.start, to: writer.end }])]
  }

  function append(data: Uint8Array, { applied = false }: AppendOptions = {}): Appended {
    if (!(data instanceof Uint8Array)) throw new TypeError('journal.append: an entry is a Uint8Array')
    if (!applied) assertTakes(data.length)
    else if (closed) assertOpen()
    else if (failed !== null) return neverWritten()
    const bytes = entryBytes(data.length)
    const newest = queue.at(-1)
    const isNew = newest === undefined || !newest.hasRoom(data.length)
    const batch = isNew ? createBatch(last + 1, spare.pop()) : newest
    // Throws for an array whose buffer was transferred: then the batch must not wait for an entry.
    batch.add(data)
    if (isNew) queue.push(batch)
    last += 1
    pendingBytes += bytes
    begin()
    return { sequence: last, durable: batch.durable }
  }

  /** Gives an entry a sequence that no frame has. A snapshot that covers it heals the journal. */
  function neverWritten(): Appended {
    last += 1
    const durable = Promise.reject(unknownError({ first: last, count: 1 }, failed))
    durable.catch(() => undefined)
    return { sequence: last, durable }
  }

  /** Starts in the next microtask, so that entries that are appended in one turn share a frame. */
  function begin(): void {
    if (working !== null) return
    clock.stopTimer(idleTimer)
    working = Promise.resolve()
      .then(work)
      .finally(() => {
        working = null
        if (queue.length > 0 && failed === null) begin()
        else if (!closed && !sealed && failed === null) sealWhenIdle()
      })
  }

  async function work(): Promise<void> {
    for (let batch = queue.shift(); batch !== undefined; batch = queue.shift()) {
      inFlight = batch
      try {
        await writeBatch(batch)
      } catch (error) {
        fail(error, batch)
        return
      } finally {
        inFlight = null
      }
      pendingBytes -= batch.payloadBytes
      if (spare.length < SPARE_BUFFERS) spare.push(batch.buffer)
      batch.resolve()
      // Callers that waited for this batch may append more. That belongs into the next frame.
      await clock.nextTurn()
    }
  }

  async function writeBatch(batch: Batch): Promise<void> {
    const bytes = frameBytes(batch.payloadBytes)
    // Room for a seal and a next frame.
    const isFull = writer !== null && writer.frames > 0 && writer.end + bytes + 2 * frameBytes(0) > segmentBytesMax
    if (isFull) await rotate()
    const current = writer ?? (await begun())
    const offset = current.end
    await current.write((at) => batch.encode(at), batch.count, assertHeld)
    sealed = false
    uncoveredBytes += bytes
    mark({ segment: current.name, offset, first: batch.first })
    durable = durableOf(current)
  }

  /** Makes the owner's first segment, or the first one after a failure. HEAD names it before any frame is written. */
  async function begun(): Promise<SegmentWriter> {
    number += 1
    const made = await createSegment(place, headerOf({ ...start!, number }, 'swap', false))
    try {
      await name(made.name)
    } catch (error) {
      await made.close()
      throw error
    }
    start = null
    writer = made
    return made
  }

  function headerOf(segment: SegmentStart, named: SegmentHeader['named'], copied: boolean): SegmentHeader {
    return { ...fixed, ...segment, named, copied }
  }

  /** The next segment is durable before the frame that names it. */
  async function rotate(): Promise<void> {
    const old = writer!
    const { holes, skips } = old.header
    number += 1
    const next = await createSegment(
      place,
      headerOf({ number, previous: old.ended(), first: old.last + 1, holes, skips }, 'next', false),
    )
    try {
      await old.write((at) => encodeNext(at, next.name), 0, assertHeld)
    } catch (error) {
      await next.close()
      throw error
    }
    await retire(old)
    writer = next
  }

  async function retire(old: SegmentWriter): Promise<void> {
    full.push({ name: old.name, from: old.start, to: old.end })
    await old.close()
  }

  function mark(at: Mark): void {
    const before = marks.at(-1)
    const isNear = before !== undefined && before.segment === at.segment && at.offset - before.offset < MARK_BYTES
    if (!isNear) marks.push(at)
  }

  /** A seal proves the last frame to whoever opens the journal next. */
  function sealWhenIdle(): void {
    idleTimer = clock.startTimer(() => {
      if (working === null && !closed)
        working = seal().finally(() => {
          working = null
          if (queue.length > 0 && failed === null) begin()
        })
    }, IDLE_MS)
    idleTimer.unref()
  }

  async function seal(): Promise<void> {
    if (sealed || writer === null || failed !== null) return
    try {
      await writer.write(encodeSeal, 0, assertHeld)
      sealed = true
    } catch (error) {
      fail(error, null)
    }
  }

  /** Writes nothing more to the segment: after a failed write or sync the kernel may have dropped dirty pages. */
  function fail(error: unknown, batch: Batch | null): void {
    failed = error
    const lost = [...(batch === null ? [] : [batch]), ...queue.splice(0)]
    pendingBytes = 0
    for (const each of lost) each.reject(unknownError(each, error))
  }

  async function flush(): Promise<void> {
    const waiting = queue.at(-1) ?? inFlight
    if (waiting !== null) await waiting.durable
    else if (failed !== null) throw failedError(failed)
  }

  async function waitFor(sequence: number): Promise<void> {
    if (!Number.isSafeInteger(sequence) || sequence < 0 || sequence > last) {
      throw new RangeError(`journal: entry ${sequence} was never appended; the last one is ${last}`)
    }
    const all = inFlight === null ? queue : [inFlight, ...queue]
    const batch = all.find(({ first, count }) => sequence >= first && sequence < first + count)
    if (batch !== undefined) await batch.durable
    else if (failed !== null && sequence > (durable?.sequence ?? 0)) throw failedError(failed)
  }

  async function heal(covered: Covered): Promise<void> {
    if (failed === null || covered.sequence < last) return
    await leave((writer?.header ?? start!).skips, covered)
    failed = null
  }

  async function stepOver(skips: Range[], covered: Covered): Promise<void> {
    clock.stopTimer(idleTimer)
    while (working !== null) await working
    await leave(skips, covered)
  }

  /** Ends the segment. The next append begins a new one. */
  async function leave(skips: Range[], covered: Covered): Promise<void> {
    const ended: Predecessor | null = writer?.ended() ?? start?.previous ?? null
    const { holes } = writer?.header ?? start!
    if (writer !== null) await retire(writer)
    writer = null
    start = goOn({ number: number + 1, holes, skips }, ended, { covered, lost: [] })
    sealed = true
  }

  async function close(): Promise<void> {
    if (closed) return
    closed = true
    clock.stopTimer(idleTimer)
    while (working !== null) await working
    await seal()
    await writer?.close()
  }

  return {
    get last() {
      return last
    },
    get durable() {
      return durable
    },
    get pendingBytes() {
      return pendingBytes
    },
    get uncoveredBytes() {
      return uncoveredBytes
    },
    get failed() {
      return failed
    },
    get holes() {
      return (writer?.header ?? start!).holes
    },
    written,
    append,
    assertTakes,
    setUncovered(bytes) {
      uncoveredBytes = bytes
    },
    flush,
    waitFor,
    markFor: (sequence) => marks.findLast(({ first }) => first <= sequence) ?? null,
    heal,
    stepOver,
    close,
  }
}

function durableOf(writer: SegmentWriter): Durable {
  return { segment: writer.name, offset: writer.end, sequence: writer.last }
}
