import { bytesText, msText, trim } from './measure.ts'
import type { Axis, Curve } from './result.ts'

// SVG from data, with nothing from elsewhere: the report is one file.

const INK = '#1f2933'
const FAINT = '#d9dee4'
const MUTED = '#616e7c'
export const OURS = '#0b7285'
export const THEIRS = '#adb5bd'
export const MISSED = '#d9480f'
const LINES = ['#0b7285', '#d9480f', '#6741d9', '#5c940d', '#c2255c']

export function escapeText(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

export function label(value: number, unit: Axis['unit'] | 'ratio'): string {
  if (unit === 'bytes') return bytesText(Math.round(value))
  if (unit === 'ms') return msText(value)
  if (unit === 'percent') return `${trim(value)} %`
  if (unit === 'ratio') return `${trim(value)}x`
  return value.toLocaleString('en')
}

export interface Bar {
  name: string
  value: number
  min?: number
  max?: number
  target?: number
  color: string
  text: string
}

/**
 * Horizontal bars with whiskers for the range and a mark for the target. A whisker that leaves the plot ends in an
 * arrow.
 */
export function bars(
  rows: readonly Bar[],
  unit: Axis['unit'] | 'ratio',
  axisLabel: string,
  { nameWidth = 320, plot = 480 } = {},
): string {
  const width = nameWidth + plot + 190
  const rowHeight = 24
  const top = 8
  const height = top + rows.length * rowHeight + 46
  const center = Math.max(...rows.map((row) => Math.max(row.value, row.target ?? 0)))
  // One bad run must not make all bars short.
  const largest = Math.min(center * 1.6, Math.max(center, ...rows.map((row) => row.max ?? 0)))
  const ticks = linearTicks(largest, unit)
  const scaleEnd = Math.max(largest, ticks.at(-1)!)
  const x = (value: number) => nameWidth + (Math.min(value, scaleEnd) / scaleEnd) * plot
  const bottom = top + rows.length * rowHeight
  const parts: string[] = []
  for (const tick of ticks) {
    parts.push(line(x(tick), top, x(tick), bottom, FAINT))
    parts.push(text(x(tick), bottom + 16, label(tick, unit), 'middle', MUTED, 11))
  }
  parts.push(text(nameWidth + plot / 2, bottom + 36, axisLabel, 'middle', MUTED, 12))
  for (const [i, row] of rows.entries()) {
    const y = top + i * rowHeight
    const middle = y + rowHeight / 2
    parts.push(text(nameWidth - 8, middle + 4, row.name, 'end', INK, 12))
    parts.push(
      `<rect x="${nameWidth}" y="${y + 5}" width="${(x(row.value) - nameWidth).toFixed(1)}" height="${rowHeight - 10}" fill="${row.color}"/>`,
    )
    if (row.min !== undefined && row.max !== undefined) {
      parts.push(line(x(row.min), middle, x(row.max), middle, INK))
      parts.push(line(x(row.min), middle - 4, x(row.min), middle + 4, INK))
      const back = row.max > scaleEnd ? 5 : 0
      for (const up of [-4, 4]) parts.push(line(x(row.max) - back, middle + up, x(row.max), middle, INK))
      if (back === 0) parts.push(line(x(row.max), middle - 4, x(row.max), middle + 4, INK))
    }
    if (row.target !== undefined) parts.push(line(x(row.target), y + 1, x(row.target), y + rowHeight - 1, INK, 2.5))
    const after = Math.max(x(row.value), x(row.max ?? 0), x(row.target ?? 0))
    parts.push(text(after + 8, middle + 4, row.text, 'start', INK, 12))
  }
  parts.push(line(nameWidth, top, nameWidth, bottom, INK))
  return svg(width, height, parts)
}

/** Curves with axes, ticks, units and a legend; the title is the page's. */
export function curve({ x: xAxis, y: yAxis, lines }: Curve): string {
  const left = 84
  const plot = { width: 470, height: 250 }
  const legendHeight = 18 * lines.length + 8
  const top = 12 + legendHeight
  const width = left + plot.width + 30
  const height = top + plot.height + 52
  const points = lines.flatMap((line) => line.points)
  const x = scaleOf(
    xAxis,
    points.map(([value]) => value),
    left,
    left + plot.width,
  )
  const y = scaleOf(
    yAxis,
    points.map(([, value]) => value),
    top + plot.height,
    top,
  )
  const parts: string[] = []
  for (const tick of y.ticks) {
    parts.push(line(left, y.at(tick), left + plot.width, y.at(tick), FAINT))
    parts.push(text(left - 8, y.at(tick) + 4, label(tick, yAxis.unit), 'end', MUTED, 11))
  }
  for (const tick of x.ticks) {
    parts.push(line(x.at(tick), top, x.at(tick), top + plot.height, FAINT))
    parts.push(text(x.at(tick), top + plot.height + 16, label(tick, xAxis.unit), 'middle', MUTED, 11))
  }
  const scaleText = (axis: Axis) => (axis.scale === 'log' ? `${axis.label} (log scale)` : axis.label)
  parts.push(text(left + plot.width / 2, height - 12, scaleText(xAxis), 'middle', MUTED, 12))
  parts.push(
    `<text transform="translate(14 ${top + plot.height / 2}) rotate(-90)" text-anchor="middle" fill="${MUTED}" font-size="12">${escapeText(scaleText(yAxis))}</text>`,
  )
  for (const [i, { name, points }] of lines.entries()) {
    const color = LINES[i % LINES.length]!
    const legendY = 12 + i * 18
    parts.push(line(left, legendY, left + 22, legendY, color, 2.5))
    parts.push(text(left + 30, legendY + 4, name, 'start', INK, 12))
    const drawn = points.map(([px, py]) => `${x.at(px).toFixed(1)},${y.at(py).toFixed(1)}`)
    parts.push(`<polyline points="${drawn.join(' ')}" fill="none" stroke="${color}" stroke-width="2"/>`)
    for (const [px, py] of points) {
      const tip = `${name}: ${label(px, xAxis.unit)}, ${label(py, yAxis.unit)}`
      parts.push(
        `<circle cx="${x.at(px).toFixed(1)}" cy="${y.at(py).toFixed(1)}" r="3.2" fill="${color}"><title>${escapeText(tip)}</title></circle>`,
      )
    }
  }
  parts.push(line(left, top, left, top + plot.height, INK))
  parts.push(line(left, top + plot.height, left + plot.width, top + plot.height, INK))
  return svg(width, height, parts)
}

interface Scale {
  at(value: number): number
  ticks: number[]
}

function scaleOf({ scale, unit }: Axis, values: readonly number[], from: number, to: number): Scale {
  if (scale === 'linear') {
    const ticks = linearTicks(Math.max(...values, unit === 'percent' ? 100 : 0), unit)
    const end = Math.max(ticks.at(-1)!, ...values)
    return { ticks, at: (value) => from + (value / end) * (to - from) }
  }
  // Powers of two for bytes, of ten for the rest.
  const base = unit === 'bytes' ? 2 : 10
  const power = (value: number) => Math.log(Math.max(value, 1e-6)) / Math.log(base)
  const low = Math.floor(power(Math.min(...values)) + 1e-9)
  const high = Math.max(low + 1, Math.ceil(power(Math.max(...values)) - 1e-9))
  const step = Math.max(1, Math.ceil((high - low) / 6))
  const ticks: number[] = []
  for (let exponent = low; exponent <= high; exponent += step) ticks.push(Number((base ** exponent).toPrecision(12)))
  return { ticks, at: (value) => from + ((power(value) - low) / (high - low)) * (to - from) }
}

/** 0 and four to six round numbers. */
function linearTicks(end: number, unit: Axis['unit'] | 'ratio'): number[] {
  if (end <= 0) return [0, 1]
  const base = unit === 'bytes' ? 1024 ** Math.floor(Math.log(end) / Math.log(1024)) : 1
  const rough = end / base / 5
  const magnitude = 10 ** Math.floor(Math.log10(rough))
  const step = [1, 2, 5, 10].map((n) => n * magnitude).find((n) => n >= rough)! * base
  const ticks: number[] = []
  for (let i = 0; i * step < end + step * 0.999; i++) ticks.push(Number((i * step).toPrecision(12)))
  return ticks
}

function svg(width: number, height: number, parts: readonly string[]): string {
  return `<svg viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" font-family="system-ui, sans-serif">${parts.join('')}</svg>`
}

function line(x1: number, y1: number, x2: number, y2: number, color: string, width = 1): string {
  const [a, b, c, d] = [x1, y1, x2, y2].map((n) => n.toFixed(1))
  return `<line x1="${a}" y1="${b}" x2="${c}" y2="${d}" stroke="${color}" stroke-width="${width}"/>`
}

function text(
  x: number,
  y: number,
  content: string,
  anchor: 'start' | 'middle' | 'end',
  color: string,
  size: number,
): string {
  return `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}" text-anchor="${anchor}" fill="${color}" font-size="${size}">${escapeText(content)}</text>`
}
