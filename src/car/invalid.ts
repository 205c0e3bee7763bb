// What is wrong about a CAR file: the one error of an import for a file that is not what it should be.

import { HoldfastError } from '../errors.ts'

/** Why a file is refused. Stable; docs/errors.md lists them. */
type CarReason =
  | 'header'
  | 'roots'
  | 'truncated'
  | 'malformed'
  | 'limit'
  | 'cid'
  | 'digest'
  | 'order'
  | 'incomplete'
  | 'trailing'
  | 'structure'
  | 'segments'

/** @param at byte of the file */
export function carInvalid(reason: CarReason, at: number, message: string, cause?: unknown): HoldfastError {
  return new HoldfastError('CAR_INVALID', `the CAR file is refused at byte ${at}: ${message}; nothing was imported`, {
    details: { reason, at },
    cause,
  })
}
