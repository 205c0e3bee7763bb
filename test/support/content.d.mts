import type { Snapshot } from '../../src/load/snapshot.ts'

export function blobsOf(n: number): { grown: Buffer; own: Buffer; small: Buffer }
export function verify(snapshot: Snapshot): Promise<number>
