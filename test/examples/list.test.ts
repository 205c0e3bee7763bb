import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { root } from './example.ts'

test('the list of examples has every folder, and the command that runs it', () => {
  const examples = join(root, 'docs/examples')
  const page = readFileSync(join(examples, 'README.md'), 'utf8')
  const listed = [...page.matchAll(/^\| `npm run ([\w:]+)` *\| \[[\w-]+\]\(([\w-]+)\/\)/gm)]
  const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { scripts: object }
  for (const [, script, folder] of listed) {
    expect(scripts).toHaveProperty([script!], expect.stringContaining(`docs/examples/${folder}/dist/`))
    expect(scripts).toHaveProperty([`pre${script}`], expect.stringContaining('npm run setup'))
  }
  const folders = readdirSync(examples, { withFileTypes: true }).filter((entry) => entry.isDirectory())
  expect(listed.map(([, , folder]) => folder).sort()).toEqual(folders.map(({ name }) => name).sort())
})
