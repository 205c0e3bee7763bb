// Writes one segment: its header, and then one frame at a time. A frame is written only when the one before it is
// durable, so that a frame on the disk proves all before it. After a failure nothing more is ever written to the
// segment.

import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { attempt, ignoreMissing, ioError, writeFully } from '../fs/io.ts'
import type { File, FileSystem } from '../fs/port.ts'
import type { EncodedFrame, FramePlace } from './frame.ts'
import {
  encodeSegmentHeader,
  type Predecessor,
  SEGMENT_ID_BYTES,
  type SegmentHeader,
  type SegmentName,
  segmentFileName,
} from './segment.ts'

/** A segment that this process made and writes. */
export interface SegmentWriter {
  readonly name: SegmentName
  readonly header: SegmentHeader
  /** Where the first frame begins. */
  readonly start: number
  /** Where the next frame will begin: all before it is durable. */
  readonly end: number
  /** How many frames there are. */
  readonly frames: number
  /** The last entry that is durable in it, or before it. */
  readonly last: number
  /** What the next segment's header records of this one. */
  ended(): Predecessor
  /**
   * Writes a frame and makes it durable.
   *
   * @param beside done while the frame becomes durable, and waited for
   * @throws IO_FAILED, NO_SPACE, what `beside` throws: the segment is to be given up
   */
  write(encode: (place: FramePlace) => EncodedFrame, count: number, beside?: () => Promise<void>): Promise<void>
  close(): Promise<void>
}

/** Where segments lie, and how files in it are made. */
export interface SegmentPlace {
  fs: FileSystem
  directory: string
  mode: number
}

/**
 * Makes a segment. When this resolves its name, its header and the frames of `prepare` are durable. Neither HEAD nor a
 * next frame names it yet.
 *
 * @param prepare frames to write before the segment is named. One sync makes all of them durable
 * @throws IO_FAILED, NO_SPACE
 */
export async function createSegment(
  { fs, directory, mode }: SegmentPlace,
  header: SegmentHeader,
  prepare: readonly { encode: (place: FramePlace) => EncodedFrame; count: number }[] = [],
): Promise<SegmentWriter> {
  const name: SegmentName = { number: header.number, id: randomBytes(SEGMENT_ID_BYTES).toString('hex') }
  const path = join(directory, segmentFileName(name))
  const encoded = encodeSegmentHeader(name.id, header)
  let file: File
  try {
    file = await fs.open(path, 'create', mode)
  } catch (error) {
    throw ioError(error, `making ${path}`)
  }
  const writer = segmentWriter(file, path, name, header, encoded)
  try {
    await writeFully(file, [encoded.bytes], 0)
    for (const { encode, count } of prepare) await writer.put(encode, count)
    await file.sync()
    await fs.syncDirectory(directory)
    return writer
  } catch (error) {
    await file.close().catch(() => undefined)
    // No HEAD names it. If it cannot be deleted here, the next opening deletes it.
    await fs.unlink(path).catch(() => undefined)
    throw ioError(error, `making ${path}`)
  }
}

function segmentWriter(
  file: File,
  path: string,
  name: SegmentName,
  header: SegmentHeader,
  encoded: { bytes: Uint8Array; hash: string },
): SegmentWriter & { put: (encode: (place: FramePlace) => EncodedFrame, count: number) => Promise<void> } {
  const start = encoded.bytes.length
  let end = start
  let hash = encoded.hash
  let frames = 0
  let next = header.first

  async function put(encode: (place: FramePlace) => EncodedFrame, count: number, sync?: () => Promise<unknown>) {
    const frame = encode({ id: name.id, offset: end, batch: frames + 1, first: next, before: hash })
    await writeFully(file, frame.views, end)
    await sync?.()
    end += frame.bytes
    hash = frame.hash
    frames += 1
    next += count
  }

  return {
    name,
    header,
    start,
    get end() {
      return end
    },
    get frames() {
      return frames
    },
    get last() {
      return next - 1
    },
    ended: () => ({ ...name, end, last: next - 1, hash }),
    put,
    async write(encode, count, beside = async () => undefined) {
      try {
        await put(encode, count, async () => {
          // Wait for both, so that no call is running when the segment is given up.
          const [synced, done] = await Promise.allSettled([file.dataSync(), beside()])
          if (synced.status === 'rejected') throw synced.reason
          if (done.status === 'rejected') throw done.reason
        })
      } catch (error) {
        throw ioError(error, `writing ${path}`, path)
      }
    },
    close: () => file.close().catch(() => undefined),
  }
}

/** Deletes segments, the oldest first, so that what a crash leaves is a chain. */
export async function removeAll(
  { fs, directory }: Pick<SegmentPlace, 'fs' | 'directory'>,
  names: readonly SegmentName[],
): Promise<void> {
  for (const name of [...names].sort((a, b) => a.number - b.number)) {
    const path = join(directory, segmentFileName(name))
    await attempt(ignoreMissing(fs.unlink(path)), `deleting ${path}`)
  }
}
