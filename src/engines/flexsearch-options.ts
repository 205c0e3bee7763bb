// Which options of FlexSearch decide what saved bytes mean: as plain values, without those that are the default.

/** Options that change how fast it is, not what it finds. */
const PERFORMANCE = new Set(['cache', 'async', 'worker', 'priority', 'fastupdate', 'commit', 'keystore'])

/** The options as plain values; functions and instances by name. */
export function identityOf(value: unknown, custom: string): unknown {
  if (typeof value === 'function') return custom
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map((item) => identityOf(item, custom))
  if (Object.getPrototypeOf(value) !== Object.prototype) return custom
  const entries = Object.entries(value).filter(([key, item]) => item !== undefined && !PERFORMANCE.has(key))
  return Object.fromEntries(entries.map(([key, item]) => [key, identityOf(item, custom)]))
}

export type Plain = Readonly<Record<string, unknown>>

/** What FlexSearch takes an option for that is not given. */
const DEFAULTS: Readonly<Record<string, readonly unknown[]>> = {
  tokenize: ['strict', 'exact', 'default'],
  resolution: [9, 0],
  context: [false],
  encoder: ['Default', 'Normalize', 'LatinDefault', 'LatinSimple'],
  rtl: [false],
  resolve: [true],
  store: [false],
}

/** The same, of a context. */
const CONTEXT_DEFAULTS: typeof DEFAULTS = { resolution: [3, 0], bidirectional: [true] }

/**
 * Options, as `identityOf` gives them, less what they say and need not: an option that is its default is no difference.
 */
export function withoutDefaults(options: Plain): Record<string, unknown> {
  const top = Object.fromEntries(Object.entries(options).filter(([key, value]) => !isDefault(DEFAULTS, key, value)))
  // A field of a Document says how it differs from the options beside it.
  const fieldDefaults = Object.fromEntries(Object.entries(DEFAULTS).filter(([key]) => !Object.hasOwn(top, key)))
  return drop(top, fieldDefaults) as Record<string, unknown>
}

function drop(value: unknown, defaults: typeof DEFAULTS): unknown {
  if (Array.isArray(value)) return value.map((item) => drop(item, defaults))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(([key, item]) => !isDefault(defaults, key, item))
  return Object.fromEntries(
    entries.map(([key, item]) => [key, drop(item, key === 'context' ? CONTEXT_DEFAULTS : defaults)]),
  )
}

function isDefault(defaults: typeof DEFAULTS, key: string, value: unknown): boolean {
  if (!Object.hasOwn(defaults, key)) return false
  if (value === null || defaults[key]!.includes(value)) return true
  return (key === 'encoder' || key === 'context') && typeof value === 'object' && Object.keys(value).length === 0
}

/** Whether an index or a field is to have a worker. */
export function hasWorkers(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(hasWorkers)
  if (typeof value !== 'object' || value === null || Object.getPrototypeOf(value) !== Object.prototype) return false
  return Object.entries(value).some(([key, item]) => (key === 'worker' ? Boolean(item) : hasWorkers(item)))
}
