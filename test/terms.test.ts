// Messages that reach the command line say its verbs and flags, and those that reach a program its methods and options.

import { readdirSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { API_WORDS } from './support/api-words.ts'

const root = new URL('../src/', import.meta.url)

/**
 * What the command line never meets: engines and other programs' parts, whose callers are programs; misuse, which it
 * checks before; and calls that it does not make.
 */
const PROGRAMS_ONLY = [
  /^(engines|encodings|car|cli|report|s3|workers)\//,
  /^(durable|blockstore|cached|inside|location|open|store|native|terms|misuse)\.ts$/,
  // A blob's text(), file() and bytes(), and journals that a program opens.
  /^load\/(blob|follow|fallback|read-blob|write-out|snapshot-resources)\.ts$/,
  /^local\/(files|saved-file)\.ts$/,
  /^(journal\/(appender|appender-errors|journal|reader)|store-journal\/(open|read-only))\.ts$/,
  // Sources that are functions or directories with options, and options of `writeFileDurable` and `reapOrphans`.
  /^persist\/(covers|ingest|open-source|sources|options)\.ts$/,
  /^fs\/(orphans|write-file)\.ts$/,
  // Misuse: TypeErrors.
  /^(history\/keep|space\/gc|space\/forget|space\/gc-options|format\/chunking)\.ts$/,
]

test('no message that may reach the command line has words of the API in it, but those of terms.ts', () => {
  const found: string[] = []
  let looked = 0
  for (const name of readdirSync(root, { recursive: true, encoding: 'utf8' })) {
    const path = name.replaceAll('\\', '/')
    if (!path.endsWith('.ts') || PROGRAMS_ONLY.some((pattern) => pattern.test(path))) continue
    looked += 1
    const lines = readFileSync(new URL(path, root), 'utf8').split('\n')
    for (const [i, line] of lines.entries()) {
      if (/^\s*(\/\/|\/?\*)/.test(line) || /(Type|Range)Error|bug: /.test(lines.slice(i - 1, i + 1).join())) continue
      for (const [, single, template] of line.matchAll(/'((?:[^'\\]|\\.)*)'|`((?:[^`\\]|\\.)*)`?|"(?:[^"\\]|\\.)*"/g)) {
        const text = (single ?? template ?? '').replaceAll(/\$\{.*?\}/g, '…')
        if (/\w \w/.test(text) && API_WORDS.test(text)) found.push(`${path}:${i + 1}: ${text}`)
      }
    }
  }
  expect(looked).toBeGreaterThan(100)
  expect(found).toEqual([])
})
