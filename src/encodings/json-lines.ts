// Writes and reads JSON values, one per line, a part at a time. So the data may exceed the maximum length of a string,
// and no second copy of it is made. JSON text contains no line feed, and `JSON.stringify` escapes lone surrogates, so
// any text survives as UTF-8.

import { createYielder, type Turn } from '../event-loop.ts'
import { HoldfastError } from '../index.ts'

/** Characters gathered into one part. */
const PART = 128 * 1024
const LINE_FEED = 0x0a

/** Given for a line where there is none: work was done, and the event loop may turn. */
export const NO_LINE = ''

/** The bytes of `lines`, each the JSON text of one value. */
export async function* encodeLines(lines: Iterable<string>, turn: Turn = createYielder()): AsyncGenerator<Uint8Array> {
  let text = ''
  for (const line of lines) {
    if (line !== NO_LINE) text += `${line}\n`
    // Each line is work of its own, and one more look at the clock costs little beside it.
    const turning = turn()
    if (turning !== undefined) await turning
    if (text.length < PART) continue
    yield Buffer.from(text, 'utf8')
    text = ''
  }
  if (text !== '') yield Buffer.from(text, 'utf8')
}

/**
 * The values in `parts`, some at a time. What is not JSON lines is an error: these bytes were verified, so we did not
 * write them.
 */
export async function* decodeLines(parts: AsyncIterable<Uint8Array>): AsyncGenerator<unknown[]> {
  const yieldIfLong = createYielder()
  let rest: Uint8Array[] = []
  for await (const part of parts) {
    for (let from = 0; from < part.length; ) {
      // Some lines at a time: a part of several MiB, parsed at once, would hold everybody up.
      const cut = part.lastIndexOf(LINE_FEED, from + PART)
      const end = cut >= from ? cut + 1 : part.indexOf(LINE_FEED, from) + 1
      if (end === 0) {
        rest.push(part.subarray(from))
        break
      }
      rest.push(part.subarray(from, end - 1))
      yield parseLines(rest.length === 1 ? rest[0]! : Buffer.concat(rest))
      rest = []
      from = end
      await yieldIfLong()
    }
  }
  if (rest.length > 0) throw notLines('the last line has no end')
}

function parseLines(bytes: Uint8Array): unknown[] {
  const text = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('utf8')
  try {
    return JSON.parse(`[${text.replaceAll('\n', ',')}]`) as unknown[]
  } catch (cause) {
    throw notLines((cause as Error).message)
  }
}

function notLines(why: string): HoldfastError {
  return new HoldfastError('ENGINE_MISMATCH', `a blob is not what this adapter writes: ${why}`, {
    details: { what: 'blob', saved: why, wanted: 'JSON lines' },
  })
}
