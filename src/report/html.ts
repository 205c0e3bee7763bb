// HTML from templates. Whatever is put into a template is text, and escaped, unless a template made it.

import { sizeText } from '../text.ts'

/** Markup. Only `html` makes it. */
class Html {
  readonly markup: string

  constructor(markup: string) {
    this.markup = markup
  }
}

export type { Html }

type Part = Html | string | number | null | readonly Part[]

/** `html` with text: it is escaped, in elements as in quoted attributes. Null is nothing. */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(strings.map((markup, i) => (i === 0 ? '' : markupOf(parts[i - 1]!)) + markup).join(''))
}

/** Markup of this package, which holds nothing of a store. */
export function constantMarkup(markup: string): Html {
  return new Html(markup)
}

function markupOf(part: Part): string {
  if (part === null) return ''
  if (part instanceof Html) return part.markup
  if (typeof part === 'object') return part.map(markupOf).join('')
  return String(part).replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

/** A size for people, with its exact number for programs. `key` names the number as `stats --json` does. */
export function size(bytes: number, key?: string): Html {
  return key === undefined
    ? html`<data value="${bytes}">${sizeText(bytes)}</data>`
    : html`<data value="${bytes}" id="${key}">${sizeText(bytes)}</data>`
}

/** Foreign text, isolated: its direction does not reach what is around it. */
export function foreign(text: string): Html {
  return html`<bdi>${text}</bdi>`
}

interface Column {
  title: string
  isNumber?: boolean
}

/** A table. The first cell of each row is its heading. */
export function table(caption: string, columns: readonly Column[], rows: readonly (readonly Part[])[]): Html {
  const head = columns.map(({ title, isNumber }) =>
    isNumber === true ? html`<th scope="col" class="n">${title}</th>` : html`<th scope="col">${title}</th>`,
  )
  const cell = (part: Part, i: number): Html => {
    if (i === 0) return html`<th scope="row">${part}</th>`
    return columns[i]!.isNumber === true ? html`<td class="n">${part}</td>` : html`<td>${part}</td>`
  }
  const body = rows.map((row) => html`<tr>${row.map(cell)}</tr>\n`)
  return html`<div class="scroll" tabindex="0" role="region" aria-label="${caption}"><table><caption>${caption}</caption>
<thead><tr>${head}</tr></thead><tbody>
${body}</tbody></table></div>`
}

/** The table behind a picture. */
export function behind(title: string, content: Html, isOpen = false): Html {
  return html`<details${isOpen ? constantMarkup(' open') : null}><summary>${title}</summary>${content}</details>`
}
