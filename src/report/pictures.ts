// The pictures of a page, as SVG. Each has a table behind it, so they are hidden from screen readers where that says
// the same.

import { sizeText } from '../text.ts'
import { AGES, MAP_COLUMNS } from './chunk-ages.ts'
import { type Html, html } from './html.ts'
import type { BlobRow, PackRow, SnapshotRow } from './model.ts'

const WIDTH = 1000

/** A part of a bar. `kind` is a class of the style sheet. */
export interface Share {
  kind: string
  title: string
  bytes: number
}

/** One bar, as long as all shares together. */
export function shareBar(shares: readonly Share[]): Html {
  const total = shares.reduce((sum, { bytes }) => sum + bytes, 0)
  let at = 0
  const parts = shares
    .filter(({ bytes }) => bytes > 0)
    .map(({ kind, title, bytes }) => {
      const x = at
      at += (bytes / total) * WIDTH
      return html`<rect class="${kind}" x="${short(x)}" y="0" width="${short(Math.max(at - x - 1.5, 0.8))}" height="34"><title>${title}: ${sizeText(
        bytes,
      )}</title></rect>`
    })
  return html`<svg class="bar" viewBox="0 0 ${WIDTH} 34" preserveAspectRatio="none" aria-hidden="true">${parts}</svg>`
}

const TOP = 14
const UP = 150
/** At most so far below the line. */
const DOWN_MAX = 80
const LEFT = 74

/** What each snapshot added above the line, and what it would free below, oldest first. Both in one scale. */
export function timeline(rows: readonly SnapshotRow[]): Html {
  const scale = scaleOf(rows.flatMap(({ addedBytes, freesBytes }) => [addedBytes, freesBytes]))
  const perByte = UP / scale.top
  const down = Math.min(Math.max(...rows.map(({ freesBytes }) => freesBytes * perByte), 8), DOWN_MAX)
  const line = TOP + UP
  const step = (WIDTH - LEFT) / Math.max(rows.length, 1)
  const wide = Math.min(step * (step > 6 ? 0.78 : 1), 64)
  const xOf = (i: number): number => LEFT + i * step + (step - wide) / 2
  const bars = (value: (row: SnapshotRow) => number, room: number, sign: -1 | 1): string =>
    rows
      .map((row, i) => {
        const height = Math.min(value(row) * perByte, room)
        if (height === 0) return ''
        const tall = short(Math.max(height, 1) * sign)
        return `M${short(xOf(i))} ${line}v${tall}h${short(wide)}V${line}z`
      })
      .join('')
  const cuts = rows.map((row, i) => {
    const marks: Html[] = []
    if (row.addedBytes * perByte > UP) marks.push(cutMark(xOf(i), TOP + 12, wide, row.addedBytes, -1))
    if (row.freesBytes * perByte > down)
      marks.push(cutMark(xOf(i), Math.round(line + down - 12), wide, row.freesBytes, 1))
    return marks
  })
  const ticks = [1, 0.5].map((part) => {
    const y = short(line - UP * part)
    return html`<path class="rule" d="M${LEFT} ${y}H${WIDTH}"/><text class="tick" x="${LEFT - 8}" y="${short(line - UP * part + 4)}">${sizeText(
      Math.round(scale.top * part),
    )}</text>`
  })
  return html`<svg class="chart" viewBox="0 0 ${WIDTH} ${short(line + down + 26)}" role="img" aria-label="Timeline of the snapshots: what each added, above the line, and would free, below it. The table has the numbers." data-left="${LEFT}" data-step="${short(step)}">
<rect id="pick" class="pick" x="0" y="0" width="${short(step)}" height="${short(line + down)}" visibility="hidden"/>
${ticks}<path class="added" d="${bars((row) => row.addedBytes, UP, -1)}"/><path class="frees" d="${bars((row) => row.freesBytes, down, 1)}"/>
<path class="axis" d="M${LEFT} ${line}H${WIDTH}"/>${cuts}
<text class="tick" x="${LEFT - 8}" y="${line + 4}">0</text>${sequenceLabels(rows, step, line + down + 18)}</svg>`
}

/** The first save is mostly far larger than all others: up to three values leave the scale, and their bars are cut. */
function scaleOf(values: readonly number[]): { top: number } {
  const sorted = [...values].sort((a, b) => b - a)
  // A save that added everything would free as much if it is alone: then nothing is to be seen beside it.
  let i = 0
  while (i < 3 && sorted[i + 1] !== undefined && sorted[i + 1]! > 0 && sorted[i]! > 4 * sorted[i + 1]!) i += 1
  const top = (sorted[i] ?? 0) * (i === 0 ? 1 : 1.25)
  return { top: Math.max(top, 1) }
}

function cutMark(x: number, y: number, wide: number, bytes: number, sign: -1 | 1): Html {
  const zigzag = `M${short(x - 2)} ${y + 4}l${short((wide + 4) / 2)} -5l${short((wide + 4) / 2)} 5`
  const isAtEdge = x > WIDTH - 90
  return html`<path class="break" d="${zigzag}"/><text class="cut" x="${short(isAtEdge ? x - 6 : x + wide + 6)}" y="${y + (sign === -1 ? 2 : 6)}" text-anchor="${
    isAtEdge ? 'end' : 'start'
  }">${sizeText(bytes)}</text>`
}

function sequenceLabels(rows: readonly SnapshotRow[], step: number, y: number): Html[] {
  const every = Math.max(1, Math.ceil(56 / step))
  return rows.flatMap(({ sequence, state }, i) => {
    const isLast = i === rows.length - 1
    // The last one is always named, and nothing is printed over it.
    if (!isLast && (i % every !== 0 || rows.length - 1 - i < every)) return []
    const x = short(LEFT + (i + 0.5) * step)
    return [html`<text class="label${state === 'current' ? ' now' : ''}" x="${x}" y="${short(y)}">${sequence}</text>`]
  })
}

const MAP_HEIGHT = 64

/** Where in a blob the bytes of each age are: each column is a part of the blob, the oldest at the bottom. */
export function ageMap({ map }: Pick<BlobRow, 'map'>): Html {
  const columns = map!.columns
  const wide = WIDTH / MAP_COLUMNS
  const totals = Array.from({ length: MAP_COLUMNS }, (_, column) =>
    columns.subarray(column * AGES, (column + 1) * AGES).reduce((sum, bytes) => sum + bytes, 0),
  )
  // Painted from the oldest, which fills everything, to the newest, which hangs from the top.
  const layers = Array.from({ length: AGES }, (_, i) => AGES - 1 - i).map((age) => {
    let path = ''
    let y = 0
    for (let column = 0; column < MAP_COLUMNS; column++) {
      let share = 0
      for (let each = 0; each <= age; each++) share += columns[column * AGES + each]!
      const total = totals[column]!
      let depth = total === 0 ? 0 : Math.round((share / total) * MAP_HEIGHT)
      // A trace of the newest is what one looks for: it is never rounded away.
      if (share > 0) depth = Math.max(depth, 2)
      if (depth !== y) path += `H${short(column * wide)}V${depth}`
      y = depth
    }
    return path === '' ? null : html`<path class="age${age}" d="M0 0${path}H${WIDTH}V0z"/>`
  })
  return html`<svg class="map" viewBox="0 0 ${WIDTH} ${MAP_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">${layers}</svg>`
}

const PACK_HEIGHT = 110

/** Packs, each as wide as it is large. What is needed stands at the bottom, garbage above it. */
export function packPicture(packs: readonly PackRow[]): Html {
  const total = packs.reduce((sum, { bytes }) => sum + bytes, 0)
  let at = 0
  const columns = packs.map(({ name, bytes, liveBytes, garbageBytes }) => {
    const x = at
    at += (bytes / Math.max(total, 1)) * WIDTH
    const wide = short(Math.max(at - x - (packs.length > 80 ? 0.3 : 1.5), 0.6))
    const live = (liveBytes / Math.max(bytes, 1)) * PACK_HEIGHT
    const garbage = (garbageBytes / Math.max(bytes, 1)) * PACK_HEIGHT
    const title = `pack ${name.replace(/^pack /, '')}: ${sizeText(bytes)}, ${sizeText(liveBytes)} needed, ${sizeText(garbageBytes)} garbage`
    return html`<g><title>${title}</title><rect class="pack" x="${short(x)}" y="0" width="${wide}" height="${PACK_HEIGHT}"/><rect class="needed" x="${short(
      x,
    )}" y="${short(PACK_HEIGHT - live)}" width="${wide}" height="${short(live)}"/><rect class="garbage" x="${short(x)}" y="0" width="${wide}" height="${short(garbage)}"/></g>`
  })
  return html`<svg class="packs" viewBox="0 0 ${WIDTH} ${PACK_HEIGHT}" preserveAspectRatio="none" aria-hidden="true">${columns}</svg>`
}

function short(value: number): string {
  return String(Math.round(value * 10) / 10)
}
