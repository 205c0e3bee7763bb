// Lines for people: styled, in tables, cut to the terminal. Whatever a store holds is printed harmlessly: every control character and
// every mark that reorders text is written out, so that no name or message can drive the terminal or forge a line.

import { styleText } from 'node:util'

type Style = 'bold' | 'dim' | 'red' | 'yellow' | 'green'

/** Text, or text with a style. */
export type Part = string | { readonly text: string; readonly style: Style }

/** One line. */
export type Line = Part | readonly Part[]

/** What text is written for. */
export interface Screen {
  /** Its width; null where lines may have any length, as in a file. */
  columns: number | null
  color: boolean
}

export function screenOf(stream: NodeJS.WriteStream): Screen {
  if (stream.isTTY !== true) return { columns: null, color: false }
  return { columns: stream.columns > 0 ? stream.columns : null, color: stream.hasColors() }
}

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

/** The lines as text, each with its line end. */
export function render(lines: readonly Line[], screen: Screen): string {
  return lines.map((line) => `${renderLine(line, screen)}\n`).join('')
}

function renderLine(line: Line, { color }: Screen): string {
  const parts: readonly Part[] = Array.isArray(line) ? line : [line as Part]
  return parts
    .map((part) => {
      if (typeof part === 'string') return printable(part)
      const text = printable(part.text)
      return color && text !== '' ? styleText(part.style, text, { validateStream: false }) : text
    })
    .join('')
    .trimEnd()
}

/** A column of a table. */
interface Column {
  title: string
  align?: 'right'
  /** On a narrow screen the columns with the lowest rank go first. */
  rank: number
}

/** A table with a heading. The last column that is left is cut where the screen ends. */
export function table(
  columns: readonly Column[],
  rows: readonly (readonly Part[])[],
  screen: Pick<Screen, 'columns'>,
): Line[] {
  const cells = rows.map((row) => row.map(plain))
  const widths = columns.map(({ title }, i) => Math.max(width(title), ...cells.map((row) => width(row[i]!.text))))
  const kept = columns.map((_, i) => i).filter((i) => rows.length === 0 || cells.some((row) => row[i]!.text !== ''))
  const total = (): number => kept.reduce((sum, i) => sum + widths[i]!, GAP * (kept.length - 1))
  while (screen.columns !== null && total() > screen.columns && kept.length > 1) {
    const cut = total() - screen.columns
    const last = kept.at(-1)!
    // Cutting the end of a long text says more than leaving it out.
    if (columns[last]!.align === undefined && widths[last]! - cut >= CUT_MIN) break
    kept.splice(kept.indexOf(kept.reduce((a, b) => (columns[b]!.rank < columns[a]!.rank ? b : a))), 1)
  }
  const room = screen.columns === null ? null : screen.columns - (total() - widths[kept.at(-1)!]!)
  const line = (row: readonly Part[]): Part[] =>
    kept.flatMap((i, at) => {
      const { text, style } = plain(row[i]!)
      const isLast = at === kept.length - 1
      const shown = isLast && room !== null ? cutTo(text, room) : text
      const space = ' '.repeat(Math.max(widths[i]! - width(shown), 0))
      const padded = columns[i]!.align === 'right' ? space + shown : isLast ? shown : shown + space
      const part = style === undefined ? padded : { text: padded, style }
      return isLast ? [part] : [part, ' '.repeat(GAP)]
    })
  return [line(columns.map(({ title }) => ({ text: title, style: 'bold' }))), ...rows.map(line)]
}

const GAP = 2
const CUT_MIN = 12

function plain(part: Part): { text: string; style?: Style } {
  return typeof part === 'string' ? { text: printable(part) } : { text: printable(part.text), style: part.style }
}

/** At most so many columns, with a mark where something is missing. */
export function cutTo(text: string, columns: number): string {
  if (width(text) <= columns) return text
  let cut = ''
  for (const character of text) {
    if (width(cut) + width(character) > columns - 1) break
    cut += character
  }
  return `${cut.trimEnd()}…`
}

const NO_WIDTH = /\p{Mn}|\p{Me}|[\u200b-\u200d]/u
const WIDE =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u

/** Columns of a terminal, as nearly as can be told without asking it. */
export function width(text: string): number {
  let columns = 0
  for (const character of text) columns += NO_WIDTH.test(character) ? 0 : WIDE.test(character) ? 2 : 1
  return columns
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
