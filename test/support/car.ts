// CAR version 1, taken apart and put together by hand: https://ipld.io/specs/transport/car/carv1/

import { decode as decodeDagCbor, encode as encodeDagCbor } from '@ipld/dag-cbor'
import { CID } from 'multiformats/cid'
import { blake3 } from '../../src/format/blake3.ts'
import { type Codec, cidOf } from '../../src/format/cid.ts'

export interface CarBlock {
  cid: CID
  bytes: Uint8Array
}

export interface Car {
  roots: CID[]
  blocks: CarBlock[]
}

/** LEB128. */
export function varint(value: number): Uint8Array {
  const bytes: number[] = []
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Uint8Array.of(...bytes, rest)
    bytes.push((rest % 128) | 128)
  }
}

function readVarint(bytes: Uint8Array, at: number): { value: number; next: number } {
  let value = 0
  for (let i = 0; ; i++) {
    const byte = bytes[at + i]!
    value += (byte & 127) * 128 ** i
    if (byte < 128) return { value, next: at + i + 1 }
  }
}

export function section(...parts: Uint8Array[]): Uint8Array {
  const body = Buffer.concat(parts)
  return Buffer.concat([varint(body.length), body])
}

export function header(roots: CID[], more: Record<string, unknown> = {}): Uint8Array {
  return section(encodeDagCbor({ version: 1, roots, ...more }))
}

export function encodeCar({ roots, blocks }: Car): Uint8Array {
  return Buffer.concat([header(roots), ...blocks.map(({ cid, bytes }) => section(cid.bytes, bytes))])
}

/** Of a CAR that is as it should be. */
export function decodeCar(car: Uint8Array): Car {
  const head = readVarint(car, 0)
  const { roots } = decodeDagCbor<{ roots: CID[] }>(car.subarray(head.next, head.next + head.value))
  const blocks: CarBlock[] = []
  for (let at = head.next + head.value; at < car.length; ) {
    const { value, next } = readVarint(car, at)
    const [cid, bytes] = CID.decodeFirst(car.subarray(next, next + value))
    blocks.push({ cid, bytes })
    at = next + value
  }
  return { roots, blocks }
}

export function blockOf(codec: Codec, bytes: Uint8Array): CarBlock {
  return { cid: cidOf({ codec, digest: blake3(bytes) }), bytes }
}
