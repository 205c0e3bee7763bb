// The one JSON document that a command writes with --json. Sizes are numbers, times are ISO 8601 in UTC, and what a
// caller stored (metadata, watermarks) is DAG-JSON.

/** Text that is JSON already. */
class RawJson {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

/** A value that a snapshot holds, as DAG-JSON: bytes, links and large integers come back as what they were. */
export async function dagJson(value: unknown): Promise<RawJson> {
  const { stringify } = await import('@ipld/dag-json')
  return new RawJson(stringify(value))
}

/** The text of a document, on one line. What is undefined is left out. */
export function documentText(value: unknown): string {
  if (value instanceof RawJson) return value.text
  if (Array.isArray(value)) return `[${value.map((item) => documentText(item ?? null)).join(',')}]`
  if (value instanceof Date) return JSON.stringify(value.toISOString())
  if (typeof value === 'object' && value !== null) {
    const fields = Object.entries(value).filter(([, field]) => field !== undefined)
    return `{${fields.map(([name, field]) => `${JSON.stringify(name)}:${documentText(field)}`).join(',')}}`
  }
  return JSON.stringify(value)
}

/** Levels of an error's details that are written. */
const DEPTH_MAX = 6

/** Facts of an error as plain JSON values, whatever they are. */
export function plainValue(value: unknown, depth = DEPTH_MAX): unknown {
  switch (typeof value) {
    case 'bigint':
      return Number.isSafeInteger(Number(value)) ? Number(value) : value.toString()
    case 'number':
      return Number.isFinite(value) ? value : String(value)
    case 'symbol':
    case 'function':
      return String(value)
    case 'object':
      return value === null ? null : plainObject(value, depth)
    default:
      return value
  }
}

function plainObject(value: object, depth: number): unknown {
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (value instanceof Error) {
    const { code, message } = value as Error & { code?: unknown }
    return { ...(typeof code === 'string' ? { code } : {}), message }
  }
  if (value instanceof Uint8Array) return Buffer.from(value).toString('hex')
  if (depth === 0) return Array.isArray(value) ? [] : {}
  if (Array.isArray(value)) return value.map((item) => plainValue(item ?? null, depth - 1))
  const entries = value instanceof Map ? [...value] : Object.entries(value)
  return Object.fromEntries(
    entries
      .filter(([, field]) => field !== undefined)
      .map(([name, field]) => [String(name), plainValue(field, depth - 1)]),
  )
}
