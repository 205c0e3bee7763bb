// What this process knows about whether a store's HEAD is durable. All writers to that store in this process share it.

import { equal } from './parse-cache.ts'

export interface HeadOutcome {
  /**
   * The outcome of a swap is unknown: HEAD may be replaced, and may not be durable. True until the next successful
   * swap.
   */
  readonly uncertain: boolean
  isDurable(bytes: Uint8Array): boolean
  /** Notes that the HEAD that was found has been made durable. This does not resolve an earlier uncertain swap. */
  durable(bytes: Uint8Array): void
  /** Notes that HEAD may have changed, or may not be durable. */
  unknown(): void
  /** Notes that a swap succeeded: this is the durable HEAD. */
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
