// Reads the segments of a journal from the disk: it scans them, and it serves the entries of valid frames. It holds one
// window, one bulk read or one frame in memory.

import { join } from 'node:path'
import { HoldfastError } from '../errors.ts'
import { createYielder } from '../event-loop.ts'
import { errorCode, ioError, isMissing, readFully } from '../fs/io.ts'
import type { File, FileSystem } from '../fs/port.ts'
import {
  checkFrame,
  decodeFrameHeader,
  type Entry,
  entriesIn,
  FRAME_HEADER_BYTES,
  type FrameHeader,
  frameEnd,
} from './frame.ts'
import { findEntryAfter, missingSegment, type ReadAt, type SegmentFacts, scanSegment } from './scan.ts'
import { parseSegmentFileName, type SegmentName, segmentFileName } from './segment.ts'

/** Read ahead, since frames of small batches are read one page at a time. */
const WINDOW_BYTES = 256 * 1024

/** Size of one read when entries are served. An entry that the caller keeps holds this much memory. */
const BULK_BYTES = 1024 * 1024

/** The segments that lie in a directory, by number; none when there is no directory. */
export async function listSegments(fs: FileSystem, directory: string): Promise<SegmentName[]> {
  try {
    const entries = await fs.readdir(directory)
    return entries
      .map(({ name, kind }) => (kind === 'file' ? parseSegmentFileName(name) : null))
      .filter((name) => name !== null)
      .sort((a, b) => a.number - b.number)
  } catch (error) {
    if (isMissing(error)) return []
    throw ioError(error, `listing ${directory}`)
  }
}

/** Scans one segment, from `from` on when given. */
export async function readSegment(
  fs: FileSystem,
  directory: string,
  name: SegmentName,
  from: number | null,
): Promise<SegmentFacts> {
  return (
    (await withSegment(fs, directory, name, (read, size) => scanSegment(name, size, read, from))) ??
    missingSegment(name)
  )
}

/**
 * The first entry after `after`, or null when there is none. Reading begins at `from`, a frame at or before that entry.
 */
export async function firstEntryAfter(
  fs: FileSystem,
  directory: string,
  from: { segment: SegmentName; offset: number },
  after: number,
): Promise<number | null> {
  const { segment, offset } = from
  for (const name of await listSegments(fs, directory)) {
    if (name.number < segment.number) continue
    const isHint = name.number === segment.number && name.id === segment.id && offset > 0
    const find = (read: ReadAt, size: number) => findEntryAfter(name, size, read, isHint ? offset : null, after)
    const found = await withSegment(fs, directory, name, find)
    if (found !== null) return found
  }
  return null
}

/**
 * The entries of a segment that count, in order, many at a time. They are views of what was read.
 *
 * @param range offsets of frames
 * @throws JOURNAL_DAMAGED when a frame is not what it was a moment ago, IO_FAILED
 */
export async function* readEntries(
  fs: FileSystem,
  directory: string,
  name: SegmentName,
  range: { from: number; to: number },
): AsyncGenerator<Entry[]> {
  const path = join(directory, segmentFileName(name))
  const file = await openSegment(fs, path)
  if (file === null) throw changed(path, range.from)
  const turn = createYielder()
  let reading = readPart(file, path, range, { at: range.from, known: NOTHING, needed: 0 })
  try {
    for (;;) {
      const { at, bytes } = await reading
      const { frames, end, needed } = framesIn(name, at, bytes, path)
      const next = at + end
      const isLast = next >= range.to
      // The disk reads the next part while this one is checked and served.
      if (!isLast) reading = readPart(file, path, range, { at: next, known: bytes.subarray(end), needed })
      for (const { header, frame } of frames) yield* entriesOf(header, frame, path, turn)
      if (isLast) return
    }
  } finally {
    await reading.catch(() => undefined)
    file.closeSync()
  }
}

const NOTHING = new Uint8Array(0)

/**
 * A part of a segment, from a frame on. `known` is what was read of it before, `needed` the size of its first frame or
 * 0.
 */
async function readPart(
  file: File,
  path: string,
  { to }: { to: number },
  { at, known, needed }: { at: number; known: Uint8Array; needed: number },
): Promise<{ at: number; bytes: Uint8Array }> {
  if (needed > to - at) throw changed(path, at)
  // Not zeroed, which takes a third of the time of reading it: either all of it is read, or this throws.
  const { buffer } = Buffer.allocUnsafeSlow(Math.min(to - at, Math.max(BULK_BYTES, needed)))
  const bytes = new Uint8Array(buffer)
  bytes.set(known)
  await fill(file, path, bytes.subarray(known.length), at + known.length)
  return { at, bytes }
}

/** The whole frames in a part, where they end, and the size of the frame behind them when that is known. */
function framesIn(
  { id }: SegmentName,
  at: number,
  bytes: Uint8Array,
  path: string,
): { frames: { header: FrameHeader; frame: Uint8Array }[]; end: number; needed: number } {
  const frames: { header: FrameHeader; frame: Uint8Array }[] = []
  let end = 0
  while (end < bytes.length) {
    const header = decodeFrameHeader(id, at + end, bytes.subarray(end, end + FRAME_HEADER_BYTES))
    if (header === null) throw changed(path, at + end)
    const needed = frameEnd(header) - at - end
    if (needed > bytes.length - end) return { frames, end, needed }
    frames.push({ header, frame: bytes.subarray(end, end + needed) })
    end += needed
  }
  return { frames, end, needed: 0 }
}

/** Checks a frame, and gives its entries some thousand at a time. */
async function* entriesOf(
  header: FrameHeader,
  frame: Uint8Array,
  path: string,
  turn: () => Promise<void> | undefined,
): AsyncGenerator<Entry[]> {
  if (checkFrame(header, frame) === null) throw changed(path, header.offset)
  for (let done = 0, from = 0; done < header.count; ) {
    const some = entriesIn(header, frame, from, done)
    if (some === null) throw changed(path, header.offset)
    yield some.entries
    done += some.entries.length
    from = some.end
    await turn()
  }
}

async function fill(file: File, path: string, target: Uint8Array, at: number): Promise<void> {
  const got = await readOrNull(file, path, target, at)
  if (got === null) {
    throw new HoldfastError('IO_FAILED', `Failed while reading ${path} at byte ${at}: the device cannot read it`, {
      details: { code: 'EIO', syscall: 'read', path },
    })
  }
  if (got < target.length) throw changed(path, at)
}

function changed(path: string, at: number): HoldfastError {
  return new HoldfastError(
    'JOURNAL_DAMAGED',
    `${path} at byte ${at} is not what it was when the journal was opened. Check the disk, and open the journal again`,
    { details: { path, at } },
  )
}

async function withSegment<T>(
  fs: FileSystem,
  directory: string,
  name: SegmentName,
  use: (read: ReadAt, size: number) => Promise<T>,
): Promise<T | null> {
  const path = join(directory, segmentFileName(name))
  const file = await openSegment(fs, path)
  if (file === null) return null
  try {
    const { size } = await file.stat()
    return await use(windowOf(file, path), size)
  } catch (error) {
    throw ioError(error, `reading ${path}`, path)
  } finally {
    file.closeSync()
  }
}

async function openSegment(fs: FileSystem, path: string): Promise<File | null> {
  try {
    return await fs.open(path, 'read')
  } catch (error) {
    if (isMissing(error)) return null
    throw ioError(error, `opening ${path}`)
  }
}

/** Reads through a window. When a window cannot be read, its pages are read one by one. */
function windowOf(file: File, path: string): ReadAt {
  const window = new Uint8Array(WINDOW_BYTES)
  let start = -1
  let length = 0

  return async (target, position) => {
    const isKnown = position >= start && position < start + length
    const known = isKnown ? window.subarray(position - start, length) : window.subarray(0, 0)
    if (target.length > WINDOW_BYTES) {
      target.set(known)
      const rest = await readOrNull(file, path, target.subarray(known.length), position + known.length)
      return rest === null ? null : known.length + rest
    }
    if (known.length < target.length) {
      // A frame's header comes before the frame: what is there already is not read again. After a jump nothing is read
      // ahead.
      const isNext = isKnown || position === start + length
      window.set(known)
      start = position
      const ahead = window.subarray(known.length, isNext ? WINDOW_BYTES : target.length)
      const rest = await readOrNull(file, path, ahead, position + known.length)
      length = rest === null ? 0 : known.length + rest
    }
    if (length === 0) return await readOrNull(file, path, target, position)
    const part = window.subarray(position - start, Math.min(position - start + target.length, length))
    target.set(part)
    return part.length
  }
}

/** Null for EIO: other failures say nothing of the bytes. */
async function readOrNull(file: File, path: string, target: Uint8Array, position: number): Promise<number | null> {
  try {
    return await readFully(file, target, position)
  } catch (error) {
    if (errorCode(error) === 'EIO') return null
    throw ioError(error, `reading ${path}`, path)
  }
}
