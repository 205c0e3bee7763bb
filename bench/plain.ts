import { open, rename } from 'node:fs/promises'
import { dirname } from 'node:path'

/** What a careful user writes without a library: nothing less survives a power loss. */
export async function writePlain(path: string, bytes: Uint8Array | AsyncIterable<Uint8Array>): Promise<void> {
  const temp = `${path}.tmp`
  const file = await open(temp, 'w')
  try {
    if (bytes instanceof Uint8Array) await file.writeFile(bytes)
    else for await (const part of bytes) await file.writeFile(part)
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temp, path)
  const directory = await open(dirname(path), 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
