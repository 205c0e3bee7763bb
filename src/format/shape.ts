// What the fields of a JSON file may be. Small, because every program that opens a store loads it: a schema library would take longer to load than
// everything else together. The first value that is wrong ends the check, whatever else is wrong: a file may have 16 MiB of wrong items.

/** A value is not of its shape. */
class WrongShape extends Error {}

/** One kind of value. */
export interface Shape<T> {
  /**
   * The value, if it is of this kind; of an object only the fields that the shape has.
   *
   * @param where of the value, for the error
   */
  parse(value: unknown, where: string): T
  /** The field may be absent. */
  readonly isOptional?: true
}

type Fields = Readonly<Record<string, Shape<unknown>>>
type Value<S> = S extends Shape<infer T> ? T : never
type OptionalNames<F extends Fields> = {
  [N in keyof F]: F[N] extends { readonly isOptional: true } ? N : never
}[keyof F]
type ObjectOf<F extends Fields> = { [N in Exclude<keyof F, OptionalNames<F>>]: Value<F[N]> } & {
  [N in OptionalNames<F>]?: Value<F[N]>
}

/** The value that a shape gives. */
export type Shaped<S> = Value<S>

/** `ok` with the value, or why it is not of the shape. */
export function parseShape<T>(
  shape: Shape<T>,
  value: unknown,
  where: string,
): { ok: true; value: T } | { ok: false; reason: string } {
  try {
    return { ok: true, value: shape.parse(value, where) }
  } catch (error) {
    if (!(error instanceof WrongShape)) throw error
    return { ok: false, reason: error.message }
  }
}

/** A value that `is` accepts. `what` completes "… must be". */
export function shapeOf<T>(what: string, is: (value: unknown) => value is T): Shape<T> {
  return {
    parse(value, where) {
      if (!is(value)) throw new WrongShape(`${where} must be ${what}`)
      return value
    },
  }
}

/** An integer. */
export function integer(min: number, max: number = Number.MAX_SAFE_INTEGER): Shape<number> {
  const what = `an integer from ${min} to ${max}`
  return shapeOf(
    what,
    (value): value is number =>
      typeof value === 'number' && Number.isSafeInteger(value) && value >= min && value <= max,
  )
}

/** Text that `is` accepts. */
export function textOf(what: string, is: (text: string) => boolean): Shape<string> {
  return shapeOf(what, (value): value is string => typeof value === 'string' && is(value))
}

export const flag = shapeOf('true or false', (value): value is boolean => typeof value === 'boolean')

/** A list of values that `is` accepts. */
export function listOf<T>(what: string, is: (item: unknown) => item is T): Shape<T[]> {
  return shapeOf(`a list of ${what}`, (value): value is T[] => Array.isArray(value) && value.every(is))
}

/** The same, of which `is` must also be true. */
export function also<T>(shape: Shape<T>, what: string, is: (value: T) => boolean): Shape<T> {
  return {
    parse(value, where) {
      const parsed = shape.parse(value, where)
      if (!is(parsed)) throw new WrongShape(`${where} must be ${what}`)
      return parsed
    },
  }
}

export function nullable<T>(shape: Shape<T>): Shape<T | null> {
  return { parse: (value, where) => (value === null ? null : shape.parse(value, where)) }
}

/** A field that may be absent. */
export function optional<T>(shape: Shape<T>): Shape<T> & { readonly isOptional: true } {
  return { parse: shape.parse, isOptional: true }
}

/** An object. Fields that are not in `fields` are left out; a parsed object has them in that order. */
export function objectOf<F extends Fields>(fields: F): Shape<ObjectOf<F>> & { readonly fields: F } {
  const entries = Object.entries(fields)
  return {
    fields,
    parse(value, where) {
      if (typeof value !== 'object' || value === null) throw new WrongShape(`${where} must be an object`)
      const parsed: Record<string, unknown> = {}
      for (const [name, shape] of entries) {
        const field = Object.hasOwn(value, name) ? (value as Record<string, unknown>)[name] : undefined
        if (field === undefined && shape.isOptional === true) continue
        parsed[name] = shape.parse(field, `${where}.${name}`)
      }
      return parsed as ObjectOf<F>
    },
  }
}
