// Draws persist.svg, the picture of one persist in the README: `node docs/pictures/persist.mjs`. The picture has its
// own background and two palettes, so that it can be read on a light page and on a dark one.
import { writeFileSync } from 'node:fs'

const WIDTH = 960
const HEIGHT = 372
const TOP = 78

const palettes = {
  light: {
    page: '#f6f8fa',
    card: '#ffffff',
    line: '#8c959f',
    text: '#1f2328',
    quiet: '#57606a',
    old: '#d0d7de',
    fresh: '#bc4c00',
    blob: '#0969da',
    name: '#0550ae',
  },
  dark: {
    page: '#161b22',
    card: '#0d1117',
    line: '#768390',
    text: '#e6edf3',
    quiet: '#9da7b3',
    old: '#3d444d',
    fresh: '#f0883e',
    blob: '#4493f8',
    name: '#79c0ff',
  },
}

function styles({ page, card, line, text, quiet, old, fresh, blob, name }) {
  return [
    `.page{fill:${page}}.card{fill:${card};stroke:${line}}.rule{stroke:${line};fill:none}.head{fill:${line}}`,
    `text{fill:${text}}.quiet{fill:${quiet}}.old{fill:${old}}.fresh{fill:${fresh}}.blob{fill:${blob}}.name{fill:${name}}`,
    `.commit{stroke:${fresh};fill:none}`,
  ].join('')
}

const parts = []

function text(x, y, content, { size = 13, weight = 400, kind = '', anchor = 'start', mono = false } = {}) {
  const family = mono ? ' font-family="ui-monospace,Menlo,Consolas,monospace"' : ''
  parts.push(
    `<text x="${x}" y="${y}" font-size="${size}" font-weight="${weight}" text-anchor="${anchor}" class="${kind}"${family}>${content}</text>`,
  )
}

function box(x, y, width, height, kind = 'card', radius = 6) {
  parts.push(`<rect x="${x}" y="${y}" width="${width}" height="${height}" rx="${radius}" class="${kind}"/>`)
}

function arrow(fromX, fromY, toX, toY) {
  const middle = (fromX + toX) / 2
  parts.push(
    `<path d="M${fromX} ${fromY}C${middle} ${fromY} ${middle} ${toY} ${toX - 7} ${toY}" class="rule" stroke-width="1.4"/>`,
    `<path d="M${toX} ${toY}l-9 -4.5v9z" class="head"/>`,
  )
}

/** A row of chunks, in lines of ten. Those whose place is in `fresh` are new. */
function chunks(x, y, count, fresh) {
  for (let i = 0; i < count; i++) {
    box(x + (i % 10) * 15, y + Math.floor(i / 10) * 15, 12, 12, fresh.includes(i) ? 'fresh' : 'old', 2)
  }
}

function heading(x, number, title, lines) {
  text(x, 34, `${number}. ${title}`, { size: 16, weight: 600 })
  lines.forEach((line, n) => {
    text(x, 53 + n * 16, line, { size: 12, kind: 'quiet' })
  })
}

box(0, 0, WIDTH, HEIGHT, 'page', 10)

// 1. Blobs
heading(24, 1, 'Blobs', ['what the engine saved'])
for (const [n, [name, bytes]] of [
  ['index', '12 MB'],
  ['documents', '4 MB'],
].entries()) {
  const y = TOP + 14 + n * 84
  box(24, y, 132, 56)
  box(24, y, 6, 56, 'blob', 3)
  text(44, y + 25, name, { weight: 600, mono: true })
  text(44, y + 43, bytes, { size: 12, kind: 'quiet' })
}

// 2. Chunks
heading(226, 2, 'Chunks', ['cut by content, named by their hash'])
box(226, TOP + 8, 174, 68)
chunks(238, TOP + 20, 30, [13, 29])
box(226, TOP + 92, 174, 54)
chunks(238, TOP + 106, 20, [19])
arrow(156, TOP + 42, 226, TOP + 42)
arrow(156, TOP + 126, 226, TOP + 120)

// Where the chunks lie.
box(226, TOP + 174, 84, 52, 'old', 4)
text(268, TOP + 196, 'older packs', { size: 12, anchor: 'middle' })
text(268, TOP + 213, 'not touched', { size: 11, anchor: 'middle', kind: 'quiet' })
parts.push(
  `<rect x="318" y="${TOP + 174}" width="82" height="52" rx="4" class="card" stroke-width="1.5"/>`,
  `<rect x="318" y="${TOP + 174}" width="82" height="5" rx="2" class="fresh"/>`,
)
text(359, TOP + 199, 'new pack', { size: 12, anchor: 'middle', weight: 600 })
text(359, TOP + 215, 'new chunks', { size: 11, anchor: 'middle', kind: 'quiet' })
text(226, TOP + 165, 'in packs/', { size: 12, kind: 'quiet', mono: true })

// 3. Manifest
heading(470, 3, 'Manifest', ['one block names every blob'])
box(470, TOP + 8, 196, 138)
for (const [n, [name, value, kind]] of [
  ['index', 'bafyr4id…', 'name'],
  ['documents', 'bafyr4ia…', 'name'],
  ['metadata', '{ … }', 'quiet'],
  ['watermark', '10412', 'quiet'],
].entries()) {
  const y = TOP + 38 + n * 28
  text(484, y, name, { mono: true, weight: n < 2 ? 600 : 400, size: 12.5 })
  text(652, y, value, { mono: true, size: 12, kind, anchor: 'end' })
}
arrow(400, TOP + 42, 470, TOP + 34)
arrow(400, TOP + 120, 470, TOP + 62)
text(470, TOP + 165, 'into the new pack as well', { size: 12, kind: 'quiet' })

// 4. HEAD
heading(744, 4, 'HEAD.json', ['the one file that is replaced'])
box(744, TOP + 8, 192, 138)
text(758, TOP + 38, 'current', { mono: true, size: 12.5 })
text(922, TOP + 38, '42', { mono: true, size: 12.5, weight: 600, kind: 'fresh', anchor: 'end' })
for (const [n, [sequence, note]] of [
  ['42', 'new'],
  ['41', 'kept'],
  ['40', 'kept'],
].entries()) {
  const y = TOP + 66 + n * 28
  text(758, y, `snapshot ${sequence}`, { mono: true, size: 12.5, weight: n === 0 ? 600 : 400 })
  text(922, y, note, { size: 12, kind: n === 0 ? 'fresh' : 'quiet', anchor: 'end' })
}
arrow(666, TOP + 62, 744, TOP + 62)

// The instant that decides.
parts.push(
  `<path d="M705 ${TOP - 10}V${TOP + 50}M705 ${TOP + 74}V${TOP + 232}" class="commit" stroke-width="1.6" stroke-dasharray="5 5"/>`,
)
text(716, TOP + 186, 'commit: one rename', { size: 13, weight: 600, kind: 'fresh' })
text(694, TOP + 210, 'a crash before it: snapshot 41', { size: 12.5, anchor: 'end' })
text(716, TOP + 210, 'a crash after it: snapshot 42', { size: 12.5 })

// Key
box(24, HEIGHT - 38, 12, 12, 'fresh', 2)
text(42, HEIGHT - 28, 'new: written', { size: 12 })
box(136, HEIGHT - 38, 12, 12, 'old', 2)
text(154, HEIGHT - 28, 'in the store already: not written again', { size: 12 })

const title =
  'One persist: blobs are cut into chunks, new chunks go into a pack, a manifest names them, HEAD.json names it'
writeFileSync(
  new URL('persist.svg', import.meta.url),
  `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" font-family="system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif">
<title>${title}</title>
<style>${styles(palettes.light)}@media (prefers-color-scheme:dark){${styles(palettes.dark)}}</style>
${parts.join('\n')}
</svg>
`,
)
