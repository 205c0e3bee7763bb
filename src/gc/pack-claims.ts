// Reads the headers of packs: which store they belong to, and which revision was to name them.

import type { Head } from '../format/head.ts'
import { HEADER_BYTES } from '../format/limits.ts'
import { parsePackHeader } from '../format/pack.ts'
import type { WriteSession } from '../storage/port.ts'

export type PackClaim = { storeId: string; revision: number } | { unreadable: string }

/**
 * Lists the packs, and reads the header of each pack that HEAD does not need. Retired packs are included, because their
 * headers are checked before they are deleted.
 */
export async function inspectPacks(session: WriteSession, head: Head): Promise<Map<string, PackClaim | null>> {
  const known = new Set(head.packs.map(({ name }) => name))
  const packs = new Map<string, PackClaim | null>()
  for (const name of await session.listPacks()) {
    const claim = known.has(name) ? null : await claimOf(session, name)
    if (claim !== undefined) packs.set(name, claim)
  }
  return packs
}

/** Undefined: it is gone. */
async function claimOf(session: WriteSession, name: string): Promise<PackClaim | undefined> {
  const bytes = new Uint8Array(HEADER_BYTES)
  const got = await session.readPackStart(name, bytes)
  return got === null ? undefined : claimIn(bytes.subarray(0, got), name)
}

/** Decodes the header of a pack. */
export function claimIn(bytes: Uint8Array, name: string): PackClaim {
  if (bytes.length < HEADER_BYTES) return { unreadable: `it has ${bytes.length} bytes` }
  try {
    const { storeId, revision } = parsePackHeader(bytes, `pack ${name}`)
    return { storeId: Buffer.from(storeId).toString('hex'), revision }
  } catch (error) {
    return { unreadable: (error as Error).message }
  }
}
