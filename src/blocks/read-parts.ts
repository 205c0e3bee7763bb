// Reads several parts of a pack that lie near each other.

import type { PackFile, PackPart } from '../storage/port.ts'

/** Fills the targets of `parts`, which ascend and do not overlap, in one read where the storage can. */
export async function readParts(file: PackFile, parts: readonly PackPart[]): Promise<void> {
  const [only] = parts
  if (parts.length > 1 && file.readParts !== undefined) await file.readParts(parts)
  else if (parts.length === 1) await file.read(only!.target, only!.position)
  else await Promise.all(parts.map(({ target, position }) => file.read(target, position)))
}
