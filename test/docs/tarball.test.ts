import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../../', import.meta.url))

test('the README that is published links only to documents that are published with it', () => {
  const { files } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { files: string[] }
  const isPublished = (path: string) => files.some((name) => path === name || path.startsWith(`${name}/`))
  const lost: string[] = []
  let links = 0
  const docs = readdirSync(join(root, 'docs')).map((name) => `docs/${name}`)
  for (const page of ['README.md', ...files, ...docs].filter((name) => name.endsWith('.md'))) {
    if (page !== 'README.md' && !isPublished(page)) continue
    for (const [, target] of readFileSync(join(root, page), 'utf8').matchAll(/\]\(([^)#:]+)(?:#[^)]*)?\)/g)) {
      const path = normalize(join(dirname(page), target!)).replace(/\/$/, '')
      links += 1
      // A folder or a program of the repository is for a clone of it.
      if (path.endsWith('.md') && existsSync(join(root, path)) && !isPublished(path)) lost.push(`${page}: ${target}`)
    }
  }
  expect(lost).toEqual([])
  expect(links).toBeGreaterThan(20)
})
