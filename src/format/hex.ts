// Bytes as hexadecimal digits, and back.

const digits = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'))

/** Lower-case hex digits, two a byte. */
export function toHex(bytes: Uint8Array): string {
  let text = ''
  for (let i = 0; i < bytes.length; i++) text += digits[bytes[i]!]
  return text
}

/** The bytes of `text`. Throws a `TypeError` unless it is exactly `bytes` bytes of lower-case hex. */
export function fromHex(text: string, bytes: number): Uint8Array {
  if (!isHex(text, bytes)) throw new TypeError(`expected ${bytes} bytes as lower-case hex digits, got '${text}'`)
  const out = new Uint8Array(bytes)
  for (let i = 0; i < bytes; i++) out[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16)
  return out
}

/** Whether `text` is exactly `bytes` bytes of lower-case hex. */
export function isHex(text: string, bytes: number): boolean {
  return text.length === 2 * bytes && /^[0-9a-f]*$/.test(text)
}
