// Checks that values of JSON have the shape that they should have, and says where one has not. A shape takes a value and gives it back with
// the fields that it knows, in its own order. It stops at the first that is wrong: files with millions of wrong items are refused at once.
//
// Written here because a schema library takes longer to load than most engines take to restore.

/** @throws WrongShape */
export type Shape<T> = (value: unknown) => T

/** A shape with named fields. */
interface RecordShape<T> {
  (value: unknown): T
  readonly keys: readonly string[]
}

export type ValueOf<S> = S extends (value: unknown) => infer T ? T : never

type OptionalKeys<F> = { [K in keyof F]: undefined extends ValueOf<F[K]> ? K : never }[keyof F]
type Fields<F> = { [K in Exclude<keyof F, OptionalKeys<F>>]: ValueOf<F[K]> } & {
  [K in OptionalKeys<F>]?: Exclude<ValueOf<F[K]>, undefined>
}

class WrongShape extends Error {
  /** Where the value is, from the outside in. */
  readonly place: string[] = []
}

/** The value, or what is wrong with it and where. */
export function checkShape<T>(shape: Shape<T>, value: unknown): { ok: true; value: T } | { ok: false; reason: string } {
  try {
    return { ok: true, value: shape(value) }
  } catch (error) {
    if (!(error instanceof WrongShape)) throw error
    return { ok: false, reason: [error.place.join('.'), error.message].filter((part) => part !== '').join(' ') }
  }
}

/** A whole number from `min` to `max`, both included. */
export function whole(min: number, max = Number.MAX_SAFE_INTEGER): Shape<number> {
  return matching(`must be a whole number from ${min} to ${max}`, (value): value is number => {
    return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max
  })
}

/** Text that `isRight`. `wanted`: `must be a time`. */
export function text(wanted: string, isRight: (text: string) => boolean): Shape<string> {
  return matching(wanted, (value): value is string => typeof value === 'string' && isRight(value))
}

/** Whatever `isRight`. */
export function matching<T>(wanted: string, isRight: (value: unknown) => value is T): Shape<T> {
  return (value) => {
    if (!isRight(value)) throw new WrongShape(wanted)
    return value
  }
}

/** A list of which every item `isItem`, and which `isRight` as a whole. */
export function listOf<T>(
  wanted: string,
  isItem: (item: unknown) => item is T,
  isRight: (items: T[]) => boolean = () => true,
): Shape<T[]> {
  return matching(wanted, (value): value is T[] => Array.isArray(value) && value.every(isItem) && isRight(value))
}

export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return (value) => (value === null ? null : shape(value))
}

/** A field that may be absent. */
export function optional<T>(shape: Shape<T>): Shape<T | undefined> {
  return (value) => (value === undefined ? undefined : shape(value))
}

/** An object with these fields; others are left out. */
export function record<F extends Record<string, Shape<unknown>>>(fields: F): RecordShape<Fields<F>> {
  const shapes = Object.entries(fields)
  function parse(value: unknown): Fields<F> {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new WrongShape('must be an object')
    const parsed: Record<string, unknown> = {}
    for (const [key, shape] of shapes) {
      const field = inside(key, shape, (value as Record<string, unknown>)[key])
      if (field !== undefined) parsed[key] = field
    }
    return parsed as Fields<F>
  }
  return Object.assign(parse, { keys: Object.keys(fields) })
}

function inside<T>(key: string, shape: Shape<T>, value: unknown): T {
  try {
    return shape(value)
  } catch (error) {
    if (error instanceof WrongShape) error.place.unshift(key)
    throw error
  }
}
