import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

export interface TextDocument {
  id: number
  title: string
  text: string
}

/** Characters: shorter pieces say nothing, longer ones are split at a line. */
const SHORTEST = 60
const LONGEST = 800

/**
 * Real text, and the same for the same `npm install`: the paragraphs of all Markdown and type declarations under
 * `root`, without repetitions. The title is the file's path.
 */
export function readCorpus(root: string): TextDocument[] {
  const seen = new Set<string>()
  const documents: TextDocument[] = []
  for (const path of textFiles(root).sort()) {
    for (const text of paragraphs(readFileSync(join(root, path), 'utf8'))) {
      if (seen.has(text)) continue
      seen.add(text)
      documents.push({ id: documents.length, title: path, text })
    }
  }
  return documents
}

function textFiles(root: string, below = ''): string[] {
  const files: string[] = []
  for (const entry of readdirSync(join(root, below), { withFileTypes: true })) {
    const path = below === '' ? entry.name : `${below}/${entry.name}`
    if (entry.isDirectory()) files.push(...textFiles(root, path))
    else if (entry.isFile() && /\.(md|d\.[cm]?ts)$/.test(entry.name)) files.push(path)
  }
  return files
}

function* paragraphs(content: string): Generator<string> {
  for (const paragraph of content.split(/\n\s*\n/)) {
    let piece = ''
    for (const line of [...paragraph.split('\n'), null]) {
      if (line !== null) piece += `${line}\n`
      if (line !== null && piece.length <= LONGEST) continue
      const text = piece.trim()
      piece = ''
      if (text.length >= SHORTEST && text.length <= 3 * LONGEST) yield text
    }
  }
}
