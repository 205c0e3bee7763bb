// An engine that saves one file, as vector engines do: a header, and for each record its links beside its vector.

import { readFileSync, writeFileSync } from 'node:fs'
import type { EngineAdapter, EngineFileOptions } from '../../src/engines/adapter.ts'
import { noise } from '../support/bytes.ts'

const HEADER_BYTES = 8
const VECTOR_BYTES = 500
const LINK_BYTES = 12
const STRIDE = VECTOR_BYTES + LINK_BYTES

export interface FileEngine {
  bytes: Buffer
}

/** What the adapter is to do otherwise. */
interface FileEngineOptions extends EngineFileOptions {
  /** Called with the path that the engine saves into, in place of a plain write. */
  save?: (path: string, bytes: Buffer) => unknown
  /** Called with the path that it loads. */
  loads?: (path: string) => void
  readOnly?: boolean
}

export function fileEngine(records: number, seed = 1): FileEngine {
  const header = Buffer.alloc(HEADER_BYTES)
  header.write('FAKE')
  header.writeUInt32LE(records, 4)
  return { bytes: Buffer.concat([header, noise(records * STRIDE, seed)]) }
}

/** Changes the vector of a record. */
export function change({ bytes }: FileEngine, record: number, to = 7): void {
  bytes.fill(to, HEADER_BYTES + record * STRIDE, HEADER_BYTES + record * STRIDE + VECTOR_BYTES)
}

export function fileAdapter(options: FileEngineOptions = {}): EngineAdapter<FileEngine> {
  const { save = writeFileSync, loads, readOnly, ...given } = options
  return {
    name: 'file-engine',
    layout: 1,
    options: {},
    readOnly,
    async save({ bytes }, { saveFile }) {
      const file = await saveFile((path) => save(path, bytes), given)
      const count = bytes.readUInt32LE(4)
      return {
        blobs: {},
        file,
        regions: [
          { count: 1, fields: [{ column: 'header', size: HEADER_BYTES }] },
          {
            count,
            fields: [
              { column: 'vectors', size: VECTOR_BYTES },
              { column: 'links', size: LINK_BYTES },
            ],
          },
        ],
        captured: true,
      }
    },
    async restore(saved) {
      const path = await saved.file(given)
      loads?.(path)
      return { bytes: readFileSync(path) }
    },
  }
}
