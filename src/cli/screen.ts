// Lines for people: styled, in tables, cut to the terminal. Whatever a store holds is printed harmlessly: every control
// character and every mark that reorders text is written out, so that no name or message can drive the terminal or
// forge a line.

import { styleText } from 'node:util'
import { printable } from '../text.ts'

export { countText, durationText, printable, sizeText, timeText } from '../text.ts'

type Style = 'bold' | 'dim' | 'red' | 'yellow' | 'green'

/** Text, or text with a style. What is `whole`, as a command to be copied, is never broken into lines. */
export type Part = string | { readonly text: string; readonly style: Style; readonly whole?: boolean }

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

/** The lines as text, each with its line end. */
export function render(lines: readonly Line[], screen: Screen): string {
  return lines.map((line) => `${renderLine(line, screen)}\n`).join('')
}

function renderLine(line: Line, { color, columns }: Screen): string {
  const parts = (Array.isArray(line) ? (line as readonly Part[]) : [line as Part]).map(plain)
  const length = parts.reduce((sum, { text }) => sum + width(text), 0)
  const fitting = columns === null || length <= columns ? parts : wrapped(parts, columns)
  return fitting
    .map(({ text, style }) =>
      color && style !== undefined && text !== '' ? styleText(style, text, { validateStream: false }) : text,
    )
    .join('')
    .trimEnd()
}

/**
 * Broken between words. A word that is wider than a line, such as a path, stays in one piece: the terminal wraps it,
 * and it can be copied.
 */
function wrapped(parts: readonly PlainPart[], columns: number): PlainPart[] {
  const indent = hangingIndent(parts.map(({ text }) => text).join(''))
  const out: PlainPart[] = []
  let at = 0
  let gap = ''
  for (const { text, style, whole } of parts) {
    for (const [token] of whole === true ? [[text]] : text.matchAll(/ +|[^ ]+/g)) {
      if (/^ *$/.test(token)) {
        gap += token
        continue
      }
      const isBroken = at > indent && at + gap.length + width(token) > columns && indent + width(token) <= columns
      const before = isBroken ? `\n${' '.repeat(indent)}` : gap
      at = (isBroken ? indent : at + gap.length) + width(token)
      gap = ''
      out.push({ text: before }, style === undefined ? { text: token } : { text: token, style })
    }
  }
  return out
}

/** Lines that go on stand below the text, where it has a label before it: `size       4.4 MiB`. */
function hangingIndent(text: string): number {
  const label = /^ *\S+ {2,}(?=\S)/.exec(text)?.[0].length ?? 0
  return label > 0 && label <= LABEL_MAX ? label : /^ */.exec(text)![0].length + 2
}

const LABEL_MAX = 12

/** A column of a table. */
interface Column {
  title: string
  align?: 'right'
  /** On a narrow screen the columns with the lowest rank go first. */
  rank: number
  /**
   * Of the last column so much is shown at least, as long as others can go; default 12. Paths that begin alike must
   * stay apart.
   */
  least?: number
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
    if (columns[last]!.align === undefined && widths[last]! - cut >= (columns[last]!.least ?? CUT_MIN)) break
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

interface PlainPart {
  text: string
  style?: Style
  whole?: boolean
}

function plain(part: Part): PlainPart {
  return typeof part === 'string' ? { text: printable(part) } : { ...part, text: printable(part.text) }
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
