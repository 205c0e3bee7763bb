import { execFileSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

// What holds for every page: links lead somewhere, and lists are complete.

const root = fileURLToPath(new URL('../../', import.meta.url))
const pages = [
  ...readdirSync(root).filter((name) => name.endsWith('.md')),
  ...readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith('.md') && !/node_modules|api[\\/]html/.test(path))
    .map((path) => join('docs', path)),
]

/** What a page links to inside the repository: links of Markdown and images of HTML. */
function targetsOf(page: string): { path: string; anchor: string | undefined }[] {
  const text = readFileSync(join(root, page), 'utf8')
  const links = text.matchAll(/\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)|(?:src|srcset)="(?!https?:)([^"]+)"/g)
  return [...links].map(([, path, anchor, source]) => ({
    path: relative(root, join(root, dirname(page), source ?? (path === '' ? page.split('/').at(-1)! : path!))),
    anchor,
  }))
}

/** Anchors as GitHub makes them of headings. */
function anchorsOf(page: string): string[] {
  const headings = readFileSync(join(root, page), 'utf8').matchAll(/^#+ (.+)$/gm)
  return [...headings].map(([, title]) =>
    title!
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(' ', '-'),
  )
}

test.each(pages)('every link in %s leads to a file, and to a heading of it', (page) => {
  for (const { path, anchor } of targetsOf(page)) {
    expect(existsSync(join(root, path)), `${page} links to ${path}`).toBe(true)
    if (anchor !== undefined) expect(anchorsOf(path), `${page} links to ${path}#${anchor}`).toContain(anchor)
  }
})

test('the package carries every file that the README links to', () => {
  const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { files: string[] }
  for (const { path } of targetsOf('README.md')) {
    expect(
      files.some((file) => path === file || path.startsWith(`${file}/`)),
      path,
    ).toBe(true)
  }
  for (const file of files) if (file !== 'dist') expect(existsSync(join(root, file)), file).toBe(true)
})

test.each(['persist', 'lifetime'])('the picture %s.svg is what its script draws', (name) => {
  const picture = join(root, `docs/pictures/${name}.svg`)
  const before = readFileSync(picture, 'utf8')
  execFileSync(process.execPath, [join(root, `docs/pictures/${name}.mjs`)])
  expect(readFileSync(picture, 'utf8')).toBe(before)
})

test.each(['README.md', 'CONTRIBUTING.md'])('every command in %s is a script of package.json', (page) => {
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object }
  const named = [...readFileSync(join(root, page), 'utf8').matchAll(/npm (?:run ([\w:]+)|(test)\b)/g)]
  expect(named.length).toBeGreaterThan(1)
  for (const [, run, test] of named) expect(scripts).toHaveProperty([run ?? test!])
})

test('the index of decisions lists each of them with its title, a status and a date', () => {
  const directory = join(root, 'docs/decisions')
  const files = readdirSync(directory).filter((name) => /^\d/.test(name))
  const index = readFileSync(join(directory, 'README.md'), 'utf8')
  const rows = [...index.matchAll(/^\| \d+ \| \[(.+)\]\((.+)\) \| (accepted|replaced by \d+) \| \d{4}-\d\d-\d\d \|$/gm)]
  expect(rows.map(([, , file]) => file)).toEqual(files)
  for (const [, title, file] of rows) {
    const heading = readFileSync(join(directory, file!), 'utf8').split('\n')[0]
    expect(heading).toBe(`# ${Number(file!.slice(0, 4))}. ${title}`)
  }
})
