// What one process knows of whether a store's HEAD is durable. It is shared by all who write to that store in this process.

import { equal } from './parse-cache.ts'

export interface HeadOutcome {
  /** A swap's outcome is not known: HEAD was replaced, perhaps, and perhaps not durably. Until the next swap that succeeds. */
  readonly uncertain: boolean
  isDurable(bytes: Uint8Array): boolean
  /** The HEAD that was found was made durable. An earlier swap is no more certain by that. */
  durable(bytes: Uint8Array): void
  /** HEAD may be another than was known, or not be durable. */
  unknown(): void
  /** A swap succeeded: this is HEAD, and durable. */
  swapped(bytes: Uint8Array): void
}

export function createHeadOutcome(): HeadOutcome {
  let durableHead: Uint8Array | null = null
  let uncertain = false
  return {
    get uncertain() {
      return uncertain
    },
    isDurable: (bytes) => durableHead !== null && equal(durableHead, bytes),
    durable(bytes) {
      durableHead = bytes
    },
    unknown() {
      durableHead = null
      uncertain = true
    },
    swapped(bytes) {
      durableHead = bytes
      uncertain = false
    },
  }
}
