// What statistics could not count, for people, and the exit code that says so.

import type { Uncounted } from '../index.ts'
import { EXIT, type ExitCode } from './exit-codes.ts'
import { type Line, sizeText } from './screen.ts'

/** So many are named, each with its reason. */
const NAMED_MAX = 10

export function uncountedLines(uncounted: readonly Uncounted[]): Line[] {
  const lines = uncounted.slice(0, NAMED_MAX).map(({ what, pack, bytes, message }): Line => {
    const name = pack === undefined ? what : `pack ${pack.slice(0, 12)}`
    return { text: `Not counted: ${name}${bytes === null ? '' : `, ${sizeText(bytes)}`}. ${message}`, style: 'red' }
  })
  const more = uncounted.length - lines.length
  return more > 0 ? [...lines, { text: `Not counted: ${more} more; --json lists them.`, style: 'red' }] : lines
}

/** Damage is worse than what may be read another time. */
export function exitOfUncounted(uncounted: readonly Uncounted[], isDamaged: boolean): ExitCode {
  if (isDamaged || uncounted.some(({ code }) => code !== 'IO_FAILED')) return EXIT.damaged
  return uncounted.length > 0 ? EXIT.environment : EXIT.done
}
