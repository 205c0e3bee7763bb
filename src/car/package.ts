// Loads `@ipld/car`, which users install themselves. Its types are given here as far as they are used.

import type { CID } from 'multiformats/cid'
import { HoldfastError } from '../errors.ts'

/** As much of `@ipld/car` as writing needs. */
interface WriterModule {
  CarWriter: {
    create(roots: CID[]): { writer: CarWriter; out: AsyncIterable<Uint8Array> }
  }
}

export interface CarWriter {
  /** Resolves when the block was taken from the other end. */
  put(block: { cid: CID; bytes: Uint8Array }): Promise<void>
  close(): Promise<void>
}

/** Bytes that a decoder asks for, as `@ipld/car` takes them. */
export interface BytesReader {
  /** At most so many of the next bytes, without taking them. */
  upTo(length: number): Promise<Uint8Array>
  /** Exactly so many; takes them with `seek`. */
  exactly(length: number, seek?: boolean): Promise<Uint8Array>
  seek(length: number): void
  readonly pos: number
}

/** As much of `@ipld/car/decoder` as reading needs. */
interface DecoderModule {
  readHeader(reader: BytesReader, strictVersion: number): Promise<{ roots: CID[] }>
  /** `blockLength` is what the file says, and may be anything. */
  readBlockHead(reader: BytesReader): Promise<{ cid: CID; blockLength: number }>
}

/** @throws PACKAGE_MISSING */
export async function loadCarWriter(): Promise<WriterModule> {
  return await loaded('@ipld/car', () => import('@ipld/car/writer'))
}

/** @throws PACKAGE_MISSING */
export async function loadCarDecoder(): Promise<DecoderModule> {
  return await loaded('@ipld/car', () => import('@ipld/car/decoder'))
}

async function loaded<T>(name: string, load: () => Promise<T>): Promise<T> {
  try {
    return await load()
  } catch (cause) {
    throw new HoldfastError(
      'PACKAGE_MISSING',
      `${name} cannot be loaded, and CAR files need it: npm install ${name} (${(cause as Error).message})`,
      { details: { package: name }, cause },
    )
  }
}
