// Names of temporary files beside the file that they are for.

import { createHash } from 'node:crypto'
import { threadId } from 'node:worker_threads'
import { clock } from '../clock.ts'
import type { TempAffixes } from './temps.ts'

// A file outside a store has no `tmp/` of its own. What is in flight for it lies beside it, as
//
//   .<name>.<pid>-<thread>-<time>-<24 hex digits>.tmp       a temp
//   .<name>.<pid>-<thread>-<time>-<24 hex digits>.tmp.d/    a work directory, with the temp of the same name beside it
//
// <time> is milliseconds since 1970 in base 36. Except for the random digits, the name is for people who find the file;
// the lock tells whether its writer is alive. A long <name> is cut and gets a digest, because a file name has at most
// 255 bytes.

const TAIL_PATTERN = /^\d+-\d+-[0-9a-z]+-[0-9a-f]{24}\.tmp(\.d)?$/
/** The rest of the name has at most 71 bytes: pid 10, thread 10, time 9, random 24, punctuation and suffixes. */
const NAME_BYTES_MAX = 160
const cutBytes = 120

/** How temps for a file of this name are named. */
export function siblingAffixes(name: string): Required<TempAffixes> {
  const time = clock.nowMs().toString(36)
  return { prefix: `.${nameKey(name)}.${process.pid}-${threadId}-${time}-`, suffix: '.tmp' }
}

/** Whether `entry` is a temp or work directory for a file called `name`. */
export function isSiblingTemp(entry: string, name: string): boolean {
  const prefix = `.${nameKey(name)}.`
  return entry.startsWith(prefix) && TAIL_PATTERN.test(entry.slice(prefix.length))
}

/** Whether `entry` is a temp or work directory for any file. */
export function isTempName(entry: string): boolean {
  return /^\..+\.\d+-\d+-[0-9a-z]+-[0-9a-f]{24}\.tmp(\.d)?$/s.test(entry)
}

function nameKey(name: string): string {
  const bytes = Buffer.from(name)
  if (bytes.length <= NAME_BYTES_MAX) return name
  let end = cutBytes
  // Do not cut within a character: continuation bytes of UTF-8 start with the bits 10.
  while ((bytes[end]! & 0xc0) === 0x80) end -= 1
  return `${bytes.subarray(0, end).toString()}~${createHash('sha256').update(bytes).digest('hex').slice(0, 16)}`
}
