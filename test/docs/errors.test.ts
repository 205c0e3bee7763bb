import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { type ErrorCode, HoldfastError } from '../../src/errors.ts'

const root = new URL('../../', import.meta.url)
const page = readFileSync(new URL('docs/errors.md', root), 'utf8')

/** `## kind` and below it `### CODE`, with the text of each. */
const sections = [...page.matchAll(/^### (\w+)\n(.*?)(?=^##)/gms)].map(({ 1: code, 2: text, index }) => ({
  code: code!,
  kind: page
    .slice(0, index)
    .match(/^## (\w+)$/gm)!
    .at(-1)!
    .slice(3),
  text: text!,
}))

const sources = readdirSync(new URL('src/', root), { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith('.ts'))
  .map((path) => readFileSync(new URL(`src/${path}`, root), 'utf8'))

const codes = [...readFileSync(new URL('src/errors.ts', root), 'utf8').matchAll(/^ {2}([A-Z_]+): '\w+',$/gm)].map(
  ([, code]) => code!,
)

test('docs/errors.md lists every code and no other', () => {
  expect(codes.length).toBeGreaterThan(30)
  expect(sections.map(({ code }) => code).sort()).toEqual([...codes].sort())
})

test('docs/operations.md has each code in the table for operators', () => {
  const page = readFileSync(new URL('docs/operations.md', root), 'utf8')
  const linked = [...page.matchAll(/\[`([A-Z_]+)`\]\(errors\.md#([a-z_]+)\)/g)]
  for (const [, code, heading] of linked) expect(heading).toBe(code!.toLowerCase())
  expect(linked.map(([, code]) => code).sort()).toEqual([...codes].sort())
})

test('docs/errors.md has each code under its kind, with what to do', () => {
  for (const { code, kind, text } of sections) {
    expect(new HoldfastError(code as ErrorCode, '').kind, code).toBe(kind)
    expect(text, code).toMatch(/\*\*What to do\*\*: \S/)
  }
})

test('docs/errors.md lists the details that each code is thrown with', () => {
  for (const { code, text } of sections) {
    const details = text.slice(text.indexOf('Details:'))
    for (const key of detailKeys(code)) expect(details, code).toContain(`\`${key}\``)
  }
})

test('docs/errors.md lists the warnings that are given', () => {
  const given = sources.flatMap((source) =>
    [...source.matchAll(/(?:warn|emitProcessWarning)\(\{\s*code: '(\w+)'/g)].map(([, code]) => code!),
  )
  const table = page.slice(page.indexOf('## Warnings'))
  const listed = [...table.matchAll(/^\| `(\w+)` \|/gm)].map(([, code]) => code!)
  expect(listed.sort()).toEqual([...new Set(given)].sort())
})

/** Keys written out in `details: { … }` wherever the source makes an error of this code. */
function detailKeys(code: string): Set<string> {
  const keys = new Set<string>()
  for (const source of sources) {
    for (const { index } of source.matchAll(new RegExp(`new HoldfastError\\(\\s*'${code}'`, 'g'))) {
      const call = balanced(source, source.indexOf('(', index))
      const at = call.indexOf('details: {')
      if (at === -1) continue
      for (const part of topLevel(balanced(call, call.indexOf('{', at)))) {
        const key = /^\s*(\w+)\s*(?::|$)/.exec(part)?.[1]
        if (key !== undefined) keys.add(key)
      }
    }
  }
  return keys
}

/** From an opening bracket to the one that closes it. No string in these calls has an odd bracket. */
function balanced(source: string, open: number): string {
  let depth = 0
  for (let at = open; at < source.length; at++) {
    if ('([{'.includes(source[at]!)) depth += 1
    if (')]}'.includes(source[at]!)) depth -= 1
    if (depth === 0) return source.slice(open, at + 1)
  }
  throw new Error('a bracket is not closed')
}

/** The comma-separated parts between two brackets. */
function topLevel(text: string): string[] {
  const parts = ['']
  let depth = 0
  for (const char of text.slice(1, -1)) {
    if ('([{'.includes(char)) depth += 1
    if (')]}'.includes(char)) depth -= 1
    if (char === ',' && depth === 0) parts.push('')
    else parts[parts.length - 1] += char
  }
  return parts
}
