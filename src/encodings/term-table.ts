// Numbers the terms that are read, in the order in which each comes first. A term is read many times, and looking it up
// by its bytes takes a fraction of what a string of it takes.

import { isAscii } from 'node:buffer'
import { randomInt } from 'node:crypto'
import { STEPS, type Turn } from '../event-loop.ts'

/**
 * As FNV-1a, with numbers of this process's own: whoever chooses the terms cannot choose those that meet in one slot.
 */
const HASH_START = randomInt(2 ** 32) | 0
const HASH_FACTOR = (randomInt(2 ** 24) << 8) | 0x93

/** Text with lone surrogates: it has no UTF-8. */
export const ILL_FORMED = /\p{Surrogate}/u

/** Terms for which there is room at first. */
const START = 64

/** Slots in use, at most: a half. */
const LOAD = 2

export class TermTable {
  /** Open addressing: the number of a term, plus 1. */
  #slots = new Int32Array(LOAD * START)
  #hashes = new Int32Array(START)
  /** Where the bytes of each term begin, and the end of the last. */
  #starts = new Uint32Array(START + 1)
  #bytes = new Uint8Array(16 * START)
  #count = 0
  /** The term that is looked up, and the hash of each of its beginnings. */
  #key = new Uint8Array(256)
  #beginnings = new Int32Array(256 + 1).fill(HASH_START)
  /** Of the last key. */
  keyLength = 0

  get count(): number {
    return this.#count
  }

  /**
   * The number of the term that has the first `shared` bytes of the key before (at most `keyLength`), and then
   * `bytes[from, to)`; a new one, `count`, if it was not there.
   */
  number(shared: number, bytes: Uint8Array, from: number, to: number): number {
    const length = shared + to - from
    if (length > this.#key.length) this.#growKey(length)
    const key = this.#key
    const beginnings = this.#beginnings
    let hash = beginnings[shared]!
    let at = shared
    for (let n = from; n < to; n++) {
      const byte = bytes[n]!
      key[at++] = byte
      hash = Math.imul(hash ^ byte, HASH_FACTOR)
      beginnings[at] = hash
    }
    this.keyLength = length
    return this.#find(hash, length)
  }

  #find(hash: number, length: number): number {
    const slots = this.#slots
    const mask = slots.length - 1
    // The low bits of the hash of short terms are of their last byte.
    let slot = (hash ^ (hash >>> 15)) & mask
    for (;;) {
      const number = slots[slot]! - 1
      if (number < 0) return this.#add(slot, hash, length)
      if (this.#hashes[number] === hash && this.#isKey(number, length)) return number
      slot = (slot + 1) & mask
    }
  }

  #isKey(number: number, length: number): boolean {
    const start = this.#starts[number]!
    if (this.#starts[number + 1]! - start !== length) return false
    const bytes = this.#bytes
    const key = this.#key
    for (let n = 0; n < length; n++) if (bytes[start + n] !== key[n]) return false
    return true
  }

  #add(slot: number, hash: number, length: number): number {
    const number = this.#count++
    if (number === this.#hashes.length) {
      this.#hashes = longer(this.#hashes, 2 * number)
      this.#starts = longer(this.#starts, 2 * number + 1)
    }
    const start = this.#starts[number]!
    if (start + length > this.#bytes.length) this.#bytes = longer(this.#bytes, 2 * this.#bytes.length + length)
    this.#bytes.set(this.#key.subarray(0, length), start)
    this.#starts[number + 1] = start + length
    this.#hashes[number] = hash
    this.#slots[slot] = number + 1
    if (LOAD * this.#count > this.#slots.length) this.#growSlots()
    return number
  }

  #growKey(length: number): void {
    const key = longer(this.#key, 2 * length)
    this.#beginnings = longer(this.#beginnings, key.length + 1)
    this.#key = key
  }

  #growSlots(): void {
    const slots = new Int32Array(2 * this.#slots.length)
    const mask = slots.length - 1
    for (let number = 0; number < this.#count; number++) {
      const hash = this.#hashes[number]!
      let slot = (hash ^ (hash >>> 15)) & mask
      while (slots[slot] !== 0) slot = (slot + 1) & mask
      slots[slot] = number + 1
    }
    this.#slots = slots
  }

  /** The terms by number. `TypeError`: one is not WTF-8. */
  async texts(turn: Turn): Promise<string[]> {
    const texts: string[] = []
    const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
    for (let first = 0; first < this.#count; first += STEPS) {
      const last = Math.min(first + STEPS, this.#count)
      const from = this.#starts[first]!
      const bytes = this.#bytes.subarray(from, this.#starts[last])
      // One string, and parts of it: of ASCII, places are those in the bytes.
      const all = isAscii(bytes) ? Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1') : null
      for (let number = first; number < last; number++) {
        const start = this.#starts[number]! - from
        const end = this.#starts[number + 1]! - from
        texts.push(all?.slice(start, end) ?? textOf(bytes.subarray(start, end), decoder))
      }
      await turn()
    }
    return texts
  }
}

/** UTF-8, in which each lone surrogate has the three bytes that its number would have. One text has one form. */
function textOf(bytes: Uint8Array, decoder: InstanceType<typeof TextDecoder>): string {
  let text = ''
  let from = 0
  for (let at = bytes.indexOf(0xed); at !== -1 && at + 2 < bytes.length; at = bytes.indexOf(0xed, at + 1)) {
    if (bytes[at + 1]! < 0xa0 || bytes[at + 1]! > 0xbf || bytes[at + 2]! >>> 6 !== 2) continue
    text += decoder.decode(bytes.subarray(from, at))
    const unit = 0xd000 | ((bytes[at + 1]! & 0x3f) << 6) | (bytes[at + 2]! & 0x3f)
    if (unit >= 0xdc00 && /[\ud800-\udbff]$/.test(text)) throw new TypeError('the halves of a pair, apart')
    text += String.fromCharCode(unit)
    from = at + 3
  }
  return text + decoder.decode(bytes.subarray(from))
}

/** The same in a column of so many items. */
export function longer<Column extends Int32Array | Uint32Array | Uint8Array>(column: Column, length: number): Column {
  const all = new (column.constructor as new (length: number) => Column)(length)
  all.set(column)
  return all
}
