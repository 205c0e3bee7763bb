// What a caller got wrong, told at once and in one way: options that do not exist or have another type, and a Promise
// that was not awaited. An option that is not known must never pass in silence: `readonly: true` would open for
// writing.

/**
 * The type that an option must have. `any`: its own operation checks it. `ms`: a time in milliseconds, 0 or more.
 * `head`: a sequence or null.
 */
type OptionType = 'any' | 'boolean' | 'function' | 'signal' | 'ms' | 'head' | 'list' | 'count' | 'schema'

/** Every option of an operation. The compiler refuses a table that lacks one. */
export type OptionTable<Options> = { readonly [Name in keyof Required<Options>]: OptionType }

type Table = Readonly<Record<string, OptionType>>

/**
 * Refuses options that are not in `table`, and values that are not of their type. Undefined is always allowed.
 *
 * @param where begins the message: the call, as the caller writes it
 * @throws TypeError
 */
export function assertOptions(where: string, options: unknown, table: Table): void {
  refusePromise(options, `${where}: the options`)
  if (options === undefined) return
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new TypeError(`${where}: the options must be an object, got ${described(options)}; pass { ${listed(table)} }`)
  }
  for (const [name, value] of Object.entries(options)) {
    const type = Object.hasOwn(table, name) ? table[name]! : undefined
    if (type === undefined) throw new TypeError(`${where}: unknown option ${name}: ${advice(name, table)}`)
    if (value !== undefined && !expected[type].test(value)) {
      throw new TypeError(`${where}: ${name} must be ${expected[type].what}, got ${described(value)}`)
    }
  }
}

/** The options of `options` that are in `table`, for an operation that takes no others. */
export function pickOptions<Options extends object>(options: Options, table: Table): Options {
  return Object.fromEntries(Object.entries(options ?? {}).filter(([name]) => Object.hasOwn(table, name))) as Options
}

/**
 * Refuses a Promise where its result is meant.
 *
 * @param what begins the message: what the value was given as
 * @throws TypeError
 */
export function refusePromise(value: unknown, what: string): void {
  if (!isPromise(value)) return
  // It may reject later, and nobody else waits for it.
  value.then(undefined, () => undefined)
  throw new TypeError(`${what} is a Promise: await it, and pass its result`)
}

/** Whether `value` has to be awaited. */
function isPromise(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && typeof (value as { then?: unknown }).then === 'function'
}

const expected: Record<OptionType, { what: string; test(value: unknown): boolean }> = {
  any: { what: 'any value', test: () => true },
  boolean: { what: 'true or false', test: (value) => typeof value === 'boolean' },
  function: { what: 'a function', test: (value) => typeof value === 'function' },
  signal: { what: 'an AbortSignal', test: isSignal },
  ms: { what: 'a number of milliseconds, 0 or more', test: (value) => typeof value === 'number' && value >= 0 },
  schema: { what: 'a Standard Schema, as zod, valibot and arktype make them', test: isSchema },
  // A text is walked letter by letter.
  list: { what: 'an array', test: (value) => Array.isArray(value) },
  count: {
    what: 'a whole number, 0 or more',
    test: (value) => Number.isSafeInteger(value) && (value as number) >= 0,
  },
  head: {
    what: 'the number of a snapshot, or null for none',
    test: (value) => value === null || (Number.isSafeInteger(value) && (value as number) >= 0),
  },
}

function isSchema(value: unknown): boolean {
  const standard = (value as { '~standard'?: { validate?: unknown } } | null)?.['~standard']
  return typeof standard?.validate === 'function'
}

/** By its shape: other realms and polyfills have a class of their own. */
function isSignal(value: unknown): boolean {
  if (typeof value !== 'object' || value === null) return false
  const { aborted, addEventListener } = value as { aborted?: unknown; addEventListener?: unknown }
  return typeof aborted === 'boolean' && typeof addEventListener === 'function'
}

function described(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  if (typeof value === 'string') return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)
  if (typeof value === 'function') return 'a function'
  if (isPromise(value)) return 'a Promise: await it'
  if (typeof value === 'object') return 'an object'
  return String(value)
}

function advice(name: string, table: Table): string {
  const near = nearest(name, Object.keys(table))
  return near === null ? `the options are ${listed(table)}` : `did you mean ${near}?`
}

function listed(table: Table): string {
  return Object.keys(table).sort().join(', ')
}

/** The name that is most like `name`, or null when none is. Case, `-` and `_` do not count. */
export function nearest(name: string, names: readonly string[]): string | null {
  const given = plain(name)
  let best: string | null = null
  let bestDistance = Math.max(1, Math.floor(given.length / 3)) + 1
  for (const candidate of names) {
    const known = plain(candidate)
    const isPart = Math.min(given.length, known.length) >= 4 && (known.includes(given) || given.includes(known))
    const distance = given === known ? 0 : isPart ? 1 : editDistance(given, known)
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance]
  }
  return best
}

function plain(name: string): string {
  return name.slice(0, 64).toLowerCase().replace(/[-_]/g, '')
}

/** Levenshtein's distance, row by row. */
function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const next = [i]
    for (let j = 1; j <= b.length; j++) {
      const replaced = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      next.push(Math.min(replaced, row[j]! + 1, next[j - 1]! + 1))
    }
    row = next
  }
  return row[b.length]!
}
