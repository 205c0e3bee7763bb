// Checks what was parsed from a file against its shape, a schema of zod's, and says in English what is wrong.

import { en } from 'zod/locales'
import * as z from 'zod/mini'

export type Checked<T> = { ok: true; value: T } | { ok: false; reason: string }

/** Zod's settings are shared by all its copies in a process: a program may have set another language. */
const english = { error: en().localeError }

/** `value` with the fields of the shape and no others, in the order of the shape. */
export function check<T>(shape: z.ZodMiniType<T>, value: unknown): Checked<T> {
  const parsed = shape.safeParse(value, english)
  return parsed.success ? { ok: true, value: parsed.data } : { ok: false, reason: z.prettifyError(parsed.error) }
}

/** As `check`. What does not fit is a bug of the caller, named `what`, and must not reach the disk. */
export function checked<T>(shape: z.ZodMiniType<T>, value: unknown, what: string): T {
  const result = check(shape, value)
  if (!result.ok) throw new Error(`bug: ${what} is wrong: ${result.reason}`)
  return result.value
}

/** A string of which `test` holds. `message` says what it must be. */
export function textThat(test: (text: string) => boolean, message: string): z.ZodMiniString {
  return z.string().check(z.refine(test, message))
}
