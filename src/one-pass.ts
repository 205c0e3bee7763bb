// Sources that give their bytes only once: streams, generators, iterators. One that was read before gives nothing,
// which looks like empty content. So it is refused, and no full file or blob is replaced by an empty one.

import { Readable } from 'node:stream'
import { HoldfastError } from './errors.ts'
import { BLOBS_MAX } from './format/limits.ts'
import { refusePromise } from './misuse.ts'

/** Sources that were read here. A source may be given again after its first reading. */
const opened = new WeakSet<object>()

interface StreamLike {
  pipe?: unknown
  getReader?: unknown
  locked?: unknown
  errored?: unknown
  readableDidRead?: unknown
}

/** Whether `source` gives its content only once. */
export function isOnePass(source: unknown): source is object {
  if (typeof source !== 'object' || source === null) return false
  return isStream(source) || typeof (source as { next?: unknown }).next === 'function'
}

function isStream(source: object): boolean {
  const { pipe, getReader } = source as StreamLike
  return typeof pipe === 'function' || typeof getReader === 'function'
}

/**
 * Why nothing, or not everything, can be read of `source` any more, for people; null when nothing is known against it.
 */
export function usedUp(source: unknown): string | null {
  if (!isOnePass(source)) return null
  if (opened.has(source)) return 'was read before, and gives its content only once; make a new one for each save'
  if (!isStream(source)) return null
  const { locked, errored, readableDidRead } = source as StreamLike
  // Reading a stream that failed before anybody read it gives its error, which says more.
  if (errored !== undefined && errored !== null && readableDidRead !== true) return null
  if (locked === true) return 'is locked: somebody else reads it; give it to one reader only'
  return Readable.isDisturbed(source as Readable)
    ? 'was read or destroyed before; give a new stream for each save'
    : null
}

/**
 * The parts of `source`, in order. From here on it counts as read.
 *
 * @param refuse makes the error for a source that was read before
 */
export function openParts<T>(
  source: Iterable<T> | AsyncIterable<T>,
  refuse: (why: string) => Error,
): Iterator<T> | AsyncIterator<T> {
  // Checked again, since a stream with a listener may have been read meanwhile.
  const why = usedUp(source)
  if (why !== null) throw refuse(why)
  if (isOnePass(source)) opened.add(source)
  const iterator = Symbol.asyncIterator in source ? source[Symbol.asyncIterator]() : source[Symbol.iterator]()
  // An iterable may give the same iterator each time.
  if ((iterator as object) !== source && opened.has(iterator))
    throw refuse('gives an iterator that was read before; give a new one')
  opened.add(iterator)
  return iterator
}

/**
 * Named things as an array of entries.
 *
 * @param what they are, for messages: `persist: blobs`
 * @throws TypeError for what is neither an object by name nor entries, and for an iterator that was read before
 */
export function namedEntries<T>(
  named: Readonly<Record<string, T>> | Iterable<readonly [string, T]>,
  what: string,
): [string, T][] {
  refusePromise(named, what)
  if (typeof named !== 'object' || named === null) throw new TypeError(`${what} must be an object of blobs by name`)
  if (!(Symbol.iterator in named)) return Object.entries(named)
  const iterator = openParts<readonly [string, T]>(named, (why) => new TypeError(`${what}: the iterator ${why}`))
  const entries: [string, T][] = []
  for (const entry of { [Symbol.iterator]: () => iterator as Iterator<readonly [string, T]> }) {
    if (!Array.isArray(entry) || entry.length < 2) {
      throw new TypeError(`${what} must be an object of blobs by name, or entries [name, blob]; got ${typeof entry}`)
    }
    entries.push([entry[0], entry[1]])
    // Told here, because what gives the entries may never end.
    if (entries.length > BLOBS_MAX) {
      throw new HoldfastError(
        'LIMIT_EXCEEDED',
        `${what}: a snapshot has ${BLOBS_MAX} blobs at most, and there are more`,
        {
          details: { limit: 'blobs', max: BLOBS_MAX, actual: entries.length },
        },
      )
    }
  }
  return entries
}
