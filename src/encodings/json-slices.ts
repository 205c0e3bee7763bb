// Parses the JSON text of a long list some items at a time, so that the event loop can turn in between.

/** Characters that are parsed at once, and those of the item with which they end: a millisecond with what is done with them. */
const SLICE = 16 * 1024

const [QUOTE, COMMA, BACKSLASH, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT] = [
  0x22, 0x2c, 0x5c, 0x5b, 0x5d, 0x7b, 0x7d,
]

/** The items of the list, in slices. `text` is what `JSON.stringify` gives: without white space, and well-formed. */
export function* parsedSlices<Item>(text: string, slice = SLICE): Generator<Item[]> {
  if (text.length <= slice || text.charCodeAt(0) !== OPEN_LIST) {
    yield JSON.parse(text) as Item[]
    return
  }
  let start = 1
  let depth = 0
  for (let at = 1; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code === QUOTE) at = endOfString(text, at)
    else if (code === OPEN_LIST || code === OPEN_OBJECT) depth += 1
    else if (code === CLOSE_LIST || code === CLOSE_OBJECT) depth -= 1
    else if (code === COMMA && depth === 0 && at - start >= slice) {
      yield JSON.parse(`[${text.slice(start, at)}]`) as Item[]
      start = at + 1
    }
  }
  yield JSON.parse(`[${text.slice(start)}`) as Item[]
}

/** Where the string that begins at `from` ends. */
function endOfString(text: string, from: number): number {
  for (let end = text.indexOf('"', from + 1); ; end = text.indexOf('"', end + 1)) {
    if (end === -1) return text.length
    let before = end - 1
    while (text.charCodeAt(before) === BACKSLASH) before -= 1
    if ((end - before) % 2 === 1) return end
  }
}
