import { readdirSync, readFileSync } from 'node:fs'
import { join, relative, sep } from 'node:path'

/** A passage of a file: what is indexed and found. */
export interface Document {
  id: number
  title: string
  text: string
}

/** Passages a file gives at most, so that one long file does not crowd out the others. */
const PASSAGES_PER_FILE = 8
/** Characters after which a passage ends at the next heading or declaration, and after which it ends anyway. */
const PASSAGE_LENGTH = 1500
const PASSAGE_LENGTH_MAX = 4000

/** Markdown headings; declarations and the comments before them. */
const sections = { md: /^(?=#{1,3} )/m, ts: /^(?=export |declare |interface |type |\/\*\*)/m }

/** Passages of the Markdown and declaration files below `root`, equal files once, always in the same order. */
export function collectDocuments(root: string): { documents: Document[]; files: number } {
  const documents: Document[] = []
  const seen = new Set<string>()
  for (const path of textFiles(root)) {
    const content = readFileSync(path, 'utf8')
    if (seen.has(content)) continue
    seen.add(content)
    const title = relative(root, path).split(sep).join('/')
    for (const text of passages(content, path.endsWith('.md') ? sections.md : sections.ts)) {
      documents.push({ id: documents.length, title, text })
    }
  }
  return { documents, files: seen.size }
}

function* textFiles(directory: string): Generator<string> {
  const entries = readdirSync(directory, { withFileTypes: true })
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = join(directory, entry.name)
    if (entry.name.startsWith('.')) continue
    if (entry.isDirectory()) yield* textFiles(path)
    else if (entry.isFile() && /\.(md|d\.ts)$/.test(entry.name)) yield path
  }
}

function passages(content: string, section: RegExp): string[] {
  const found: string[] = []
  let passage = ''
  for (const part of content.split(section)) {
    if (passage !== '' && passage.length + part.length > PASSAGE_LENGTH) {
      found.push(passage)
      passage = ''
    }
    passage += part
    while (passage.length > PASSAGE_LENGTH_MAX) {
      found.push(passage.slice(0, PASSAGE_LENGTH_MAX))
      passage = passage.slice(PASSAGE_LENGTH_MAX)
    }
  }
  return [...found, passage].filter((text) => text.trim() !== '').slice(0, PASSAGES_PER_FILE)
}
