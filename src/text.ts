// Sizes, times and foreign text as people read them, on a terminal and on a page.

/** C0 and C1 control characters, and what turns the direction of text, breaks lines or is not seen at all. */
const HARMFUL = /[\p{Cc}\p{Cs}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff\u{e0000}-\u{e007f}]/gu

/** The text with everything written out that is not to be seen or not harmless. */
export function printable(text: string): string {
  return text.replace(HARMFUL, (character) => {
    if (character === '\n') return '\\n'
    if (character === '\r') return '\\r'
    if (character === '\t') return '\\t'
    const code = character.codePointAt(0)!.toString(16)
    return code.length <= 2 ? `\\x${code.padStart(2, '0')}` : `\\u{${code}}`
  })
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB']

/** `12.3 MiB`. */
export function sizeText(bytes: number): string {
  let unit = 0
  let value = bytes
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024
    unit += 1
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : value.toFixed(1)} ${UNITS[unit]}`
}

/** `1 pack`, `2 packs`. */
export function countText(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? '' : 's'}`
}

/** `2026-11-20 10:15:03Z`. */
export function timeText(time: Date): string {
  return time
    .toISOString()
    .replace('T', ' ')
    .replace(/\.\d+Z$/, 'Z')
}

/** `3 h 5 min`: the two largest units. */
export function durationText(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`
  const units: [number, string][] = [
    [86_400, 'd'],
    [3600, 'h'],
    [60, 'min'],
    [1, 's'],
  ]
  let seconds = Math.round(ms / 1000)
  const shown: string[] = []
  for (const [size, name] of units) {
    const count = Math.floor(seconds / size)
    seconds -= count * size
    if (count > 0 || shown.length > 0) shown.push(`${count} ${name}`)
  }
  return shown
    .slice(0, 2)
    .filter((part) => !part.startsWith('0 '))
    .join(' ')
}
