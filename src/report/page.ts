// The page: one self-contained HTML document. It loads nothing, and its policy forbids it to.

import { createHash } from 'node:crypto'
import { timeText } from '../text.ts'
import { constantMarkup, type Html, html } from './html.ts'
import { REPORT_MARK } from './mark.ts'
import type { Model } from './model.ts'
import { SCRIPT } from './script.ts'
import { changedSection, getBackSection, healthOf, largeSection, summary, wellSection } from './sections.ts'
import { STYLE } from './style.ts'

/** The page of a model. The same model gives the same page. */
export function pageOf(model: Model): string {
  const { markup } = bodyOf(model)
  return `${REPORT_MARK}<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="${POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>${titleOf(model)} – holdfast report</title>
<style>${STYLE}</style>
</head>
<body>
${markup}
<script>${SCRIPT}</script>
</body>
</html>
`
}

/** Only the style and the script of this package run, whatever a name in a store might have smuggled in. */
const POLICY = [
  "default-src 'none'",
  `style-src '${hashOf(STYLE)}'`,
  `script-src '${hashOf(SCRIPT)}'`,
  'img-src data:',
  "base-uri 'none'",
  "form-action 'none'",
].join('; ')

function hashOf(text: string): string {
  return `sha256-${createHash('sha256').update(text).digest('base64')}`
}

function titleOf({ current }: Model): string {
  return current === null ? 'No snapshot' : `Snapshot ${current.sequence}`
}

function bodyOf(model: Model): Html {
  const { current, stats, time, isRedacted } = model
  const health = healthOf(model)
  const what =
    current === null
      ? html`No snapshot is current`
      : html`Snapshot ${current.sequence} <span class="of">of <time datetime="${current.time.toISOString()}">${timeText(current.time)}</time></span>`
  return html`<a class="skip" href="#main">Skip to the report</a>
<header>
<p class="brand">${MARK}holdfast <span>report</span></p>
<div class="tools"><button type="button" id="exact" aria-pressed="false" hidden>Exact bytes</button><button type="button" id="theme" hidden>Theme: system</button></div>
<h1>${what}</h1>
<p class="made">${stats.snapshots.length === 1 ? '1 snapshot is' : `${stats.snapshots.length} snapshots are`} kept. Made <time datetime="${time.toISOString()}">${timeText(
    time,
  )}</time> from revision ${stats.revision} of HEAD.${isRedacted ? ' Names are numbers, and messages are left out.' : ''}</p>
<p class="health ${health.kind}"><a href="#well"><span aria-hidden="true">${health.sign}</span> ${health.text}</a></p>
</header>
<main id="main" tabindex="-1">
${summary(model)}
${largeSection(model)}
${changedSection(model)}
${getBackSection(model)}
${wellSection(model)}
</main>
<footer><p>Sizes are of stored bytes: blocks as they lie in packs, with their index entries. All numbers but those of a verification are of one HEAD.</p></footer>`
}

const MARK = constantMarkup(
  '<svg viewBox="0 0 24 24" width="22" height="22" aria-hidden="true"><path class="needed" d="M2 15h20v6H2z"/><path class="age1" d="M2 9h14v4.5H2z"/><path class="age0" d="M2 3h7v4.500H2z"/></svg>',
)
