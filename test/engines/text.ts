// Text that has what real text has: frequent and rare words, words that are prefixes of each other, names that objects
// have by themselves.

const WORDS = [
  ...'the of and to in is that for it as with on be by this from at or an are not which have were one all'.split(' '),
  ...'index indexes indexed indexing search searched searches snapshot snapshots store stored stores stone'.split(' '),
  ...'constructor __proto__ toString hasOwnProperty valueOf naïve café straße 日本語 emoji😀 a b c 42 4242'.split(' '),
]

/** The same for the same seed; mulberry32. */
export function random(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

export interface TextDocument {
  id: number
  title: string
  text: string
}

/** Document number `n`; `version` changes its text. */
export function textDocument(n: number, version = 0): TextDocument {
  const next = random(n * 7919 + version * 104729 + 1)
  const word = (): string => {
    // The square makes the first words the most frequent ones; every tenth word is rare.
    if (next() < 0.1) return `w${Math.floor(next() * 5000).toString(36)}`
    return WORDS[Math.floor(next() ** 2 * WORDS.length)]!
  }
  const words = (count: number): string => Array.from({ length: count }, word).join(' ')
  return { id: n, title: words(2 + (n % 3)), text: words(5 + Math.floor(next() * 20)) }
}

/** Queries: single words, prefixes, misspelt ones, several words. */
export const QUERIES = [
  'the',
  'sto',
  'index search',
  'snapshto',
  'constructor',
  '__proto__',
  'naïve café',
  'wa',
  '42',
  '',
]
