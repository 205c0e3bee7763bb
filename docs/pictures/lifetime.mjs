// Draws lifetime.svg, the picture in docs/space.md of a store through many persists, from bench/lifetime.json: `node
// docs/pictures/lifetime.mjs`. It has its own background and two palettes, so that it can be read on a light page and
// on a dark one.

import { readFileSync, writeFileSync } from 'node:fs'

const { samples } = JSON.parse(readFileSync(new URL('../../bench/lifetime.json', import.meta.url), 'utf8'))

const WIDTH = 760
const LEFT = 66
const RIGHT = 150
const PANEL = 130
const GAP = 46
const TOP = 34
const plotWidth = WIDTH - LEFT - RIGHT

const palettes = {
  light: { page: '#ffffff', text: '#1f2328', quiet: '#57606a', rule: '#d0d7de', first: '#0969da', second: '#bc4c00' },
  dark: { page: '#0d1117', text: '#e6edf3', quiet: '#9da7b3', rule: '#3d444d', first: '#4493f8', second: '#f0883e' },
}

function styles({ page, text, quiet, rule, first, second }) {
  return (
    `.page{fill:${page}}text{fill:${text}}.quiet{fill:${quiet}}.rule{stroke:${rule}}` +
    `.line0{stroke:${first}}.line1{stroke:${second}}.name0{fill:${first}}.name1{fill:${second}}`
  )
}

const panels = [
  {
    title: 'Bytes in packs, in MiB',
    lines: [
      { name: 'all', of: ({ packBytes }) => packBytes / 2 ** 20 },
      { name: 'needed', of: ({ liveBytes }) => liveBytes / 2 ** 20 },
    ],
  },
  {
    title: 'Packs, and kept snapshots',
    lines: [
      { name: 'packs', of: ({ packs }) => packs },
      { name: 'snapshots', of: ({ snapshots }) => snapshots },
    ],
  },
  {
    title: 'Processor time of a persist, in ms',
    lines: [
      { name: 'nine in ten', of: ({ p90CpuMs }) => p90CpuMs },
      { name: 'median', of: ({ medianCpuMs }) => medianCpuMs },
    ],
  },
]

/** The round number from which on `values` have room, and its steps. */
function scaleOf(values) {
  const largest = Math.max(...values)
  const step = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((each) => largest / each <= 5) ?? 2000
  return { step, end: step * Math.ceil(largest / step) }
}

const last = samples.at(-1).persists
const x = (persists) => LEFT + (persists / last) * plotWidth

function panel({ title, lines }, top) {
  const bottom = top + PANEL
  const { step, end } = scaleOf(lines.flatMap(({ of }) => samples.map(of)))
  const y = (value) => bottom - (value / end) * PANEL
  const parts = [`<text x="${LEFT}" y="${top - 10}" font-weight="600">${title}</text>`]
  for (let value = 0; value <= end; value += step) {
    parts.push(`<line class="rule" x1="${LEFT}" x2="${LEFT + plotWidth}" y1="${y(value)}" y2="${y(value)}"/>`)
    parts.push(`<text class="quiet" x="${LEFT - 8}" y="${y(value) + 4}" text-anchor="end">${value}</text>`)
  }
  const ends = lines.map(({ of }) => y(of(samples.at(-1))))
  // Names that would lie on each other are moved apart.
  const apart = Math.abs(ends[0] - ends[1]) < 16 ? 8 - Math.abs(ends[0] - ends[1]) / 2 : 0
  for (const [i, { name, of }] of lines.entries()) {
    const points = samples.map((sample) => `${x(sample.persists).toFixed(1)},${y(of(sample)).toFixed(1)}`)
    parts.push(`<polyline class="line${i}" points="${points.join(' ')}" fill="none" stroke-width="1.6"/>`)
    const at = ends[i] + (ends[i] <= ends[1 - i] ? -apart : apart) + 4
    parts.push(`<text class="name${i}" x="${LEFT + plotWidth + 8}" y="${at.toFixed(1)}">${name}</text>`)
  }
  return parts.join('\n')
}

const height = TOP + panels.length * (PANEL + GAP) + 8
const bottom = TOP + panels.length * PANEL + (panels.length - 1) * GAP
const marks = [0, 0.25, 0.5, 0.75, 1].map((part) => Math.round(part * last))
const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" width="${WIDTH}" height="${height}" font-family="system-ui, sans-serif" font-size="12" role="img">
<title>A store through ${last.toLocaleString('en')} persists: bytes in packs, packs and kept snapshots, and the time of a persist</title>
<style>${styles(palettes.light)}@media (prefers-color-scheme:dark){${styles(palettes.dark)}}</style>
<rect class="page" width="${WIDTH}" height="${height}" rx="8"/>
${panels.map((each, i) => panel(each, TOP + i * (PANEL + GAP))).join('\n')}
${marks.map((mark) => `<text class="quiet" x="${x(mark).toFixed(1)}" y="${bottom + 20}" text-anchor="middle">${mark.toLocaleString('en')}</text>`).join('\n')}
<text class="quiet" x="${LEFT + plotWidth / 2}" y="${bottom + 38}" text-anchor="middle">persists</text>
</svg>
`
writeFileSync(new URL('lifetime.svg', import.meta.url), svg)
