// BLAKE3: the native addon where it loads, else a portable implementation.

import { createHasher, hash as hashPortable, warmupSimd } from 'blake3-jit'
import { blake3Addon, requireNative, requirePath, whyNotLoaded } from '../native.ts'
import { toHex } from './hex.ts'
import { DIGEST_BYTES } from './limits.ts'

type Hash = (bytes: Uint8Array) => Uint8Array

interface Implementation {
  name: 'native' | 'wasm'
  hash: Hash
  reason?: unknown
  /** Of the addon, where it was loaded by its path. */
  path?: string | undefined
}

/**
 * BLAKE3 of no bytes, from the official test vectors: what a loaded implementation has to answer before it is trusted.
 */
const EMPTY_DIGEST = 'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262'

let chosen: Implementation | undefined

/**
 * The 32-byte BLAKE3 digest, in a fresh array. One call over the whole input: a hasher object per chunk costs three
 * times as much (measured at 16 KiB).
 */
export function blake3(bytes: Uint8Array): Uint8Array {
  chosen ??= choose()
  return chosen.hash(bytes)
}

/**
 * Which implementation serves `blake3`, chosen at first use: `native` (2-4 GB/s), else `wasm` (0.3-0.6 GB/s) with the
 * reason why the native one did not load. No reason: it was asked for with `HOLDFAST_BLAKE3=wasm`.
 */
export function blake3Implementation(): Omit<Implementation, 'hash'> {
  chosen ??= choose()
  const { name, reason, path } = chosen
  return { name, ...(reason === undefined ? {} : { reason }), ...(path === undefined ? {} : { path }) }
}

function choose(): Implementation {
  if (process.env.HOLDFAST_BLAKE3 === 'wasm') return portable()
  try {
    const addon = loadAddon()
    const { blake3 } = addon?.native ?? loadNative()
    const hash: Hash = (bytes) => {
      const digest = blake3(bytes)
      // Not a Buffer: its `slice` is a view, and callers of `slice` on a digest mean a copy.
      return new Uint8Array(digest.buffer, digest.byteOffset, DIGEST_BYTES)
    }
    if (toHex(hash(new Uint8Array(0))) !== EMPTY_DIGEST) throw new Error('@napi-rs/blake-hash gives wrong digests')
    return { name: 'native', hash, ...(addon === null ? {} : { path: addon.path }) }
  } catch (reason) {
    return { ...portable(), reason }
  }
}

interface Native {
  blake3: (input: Uint8Array) => Buffer
}

/** Null where the addon is not there, or is for another C library. */
function loadAddon(): { native: Native; path: string } | null {
  try {
    const path = blake3Addon()
    return path === null ? null : { native: requirePath(path) as Native, path }
  } catch {
    return null
  }
}

function loadNative(): Native {
  try {
    return requireNative('@napi-rs/blake-hash') as Native
  } catch (cause) {
    throw new Error(whyNotLoaded('@napi-rs/blake-hash', cause), { cause })
  }
}

/**
 * Where WebAssembly has no memory, its `hash` asks for some in each call, which takes 100 ms. A hasher does without.
 */
function portable(): Implementation {
  const hash: Hash = warmupSimd()
    ? (bytes) => hashPortable(bytes, DIGEST_BYTES)
    : (bytes) => createHasher().update(bytes).finalize(DIGEST_BYTES)
  return { name: 'wasm', hash }
}

/** Whether the 32 bytes of `a` at `aAt` are those of `b` at `bAt`. */
export function digestsEqual(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number): boolean {
  for (let i = 0; i < DIGEST_BYTES; i++) {
    if (a[aAt + i] !== b[bAt + i]) return false
  }
  return true
}
