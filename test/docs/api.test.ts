import { readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

// The API reference (`npm run docs`) is made from docstrings, so every name that the package exports has one. It is
// read from the declarations in dist/, as typedoc does, so that it does not matter in which file of src/ a name is.

const root = fileURLToPath(new URL('../../', import.meta.url))
const { exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  exports: Record<string, { types?: string }>
}
const entries = Object.values(exports).flatMap(({ types }) => (types === undefined ? [] : [join(root, types)]))

interface Exported {
  name: string
  documented: boolean
}

/** What a declaration file exports, itself or from another file. */
function exportsOf(path: string): Exported[] {
  const text = readFileSync(path, 'utf8')
  const own = text.matchAll(
    /(\*\/\n)?^export (?:declare )?(?:abstract )?(?:interface|function|class|type|const) (\w+)/gm,
  )
  const clauses = text.matchAll(/^export (?:type )?\{([^}]*)\}(?: from '([^']+)')?;?$/gm)
  return [
    ...[...own].map(([, comment, name]) => ({ name: name!, documented: comment !== undefined })),
    ...[...clauses].flatMap(([, names, from]) => {
      const file = from === undefined ? null : join(dirname(path), from.replace(/\.[jt]s$/, '.d.ts'))
      return names!
        .split(',')
        .map((name) => name.replace(/^\s*type /, '').trim())
        .filter((name) => name !== '')
        .map((name) => (file === null ? imported(path, text, name) : find(file, name)))
    }),
  ]
}

/** A name that is imported and then exported. */
function imported(path: string, text: string, name: string): Exported {
  const [, from] = new RegExp(`^import (?:type )?\\{[^}]*\\b${name}\\b[^}]*\\} from '([^']+)'`, 'm').exec(text) ?? []
  return from === undefined ? declared(text, name) : find(join(dirname(path), from.replace(/\.[jt]s$/, '.d.ts')), name)
}

function declared(text: string, name: string): Exported {
  const documented = new RegExp(`\\*/\\n(?:declare )?(?:interface|function|class|type|const) ${name}\\b`).test(text)
  return { name, documented }
}

function find(file: string, name: string): Exported {
  const exported = exportsOf(file).find((each) => each.name === name)
  if (exported === undefined) throw new Error(`${file} does not export ${name}`)
  return exported
}

/** These have none yet. Nothing is added to this list. */
const OWED = new Set<string>([])

test('every export of the package has a docstring', () => {
  const all = entries.flatMap(exportsOf)
  expect(all.length).toBeGreaterThan(100)
  const missing = all.filter(({ name, documented }) => !documented && !OWED.has(name)).map(({ name }) => name)
  expect(missing).toEqual([])
})
