import { execFile } from 'node:child_process'
import { cp, mkdtemp, readFile, rm, symlink } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

test('the embedded WebAssembly and worker source are what their sources make', async () => {
  const copy = await mkdtemp(join(tmpdir(), 'holdfast-generated-'))
  try {
    await cp(join(root, 'src'), join(copy, 'src'), { recursive: true })
    for (const file of ['package.json', 'tsconfig.json']) await cp(join(root, file), join(copy, file))
    await symlink(join(root, 'node_modules'), join(copy, 'node_modules'))
    await promisify(execFile)(process.execPath, [join(copy, 'src/workers/assembly/build.mjs')])
    const made = await readFile(join(copy, 'src/workers/generated.ts'), 'utf8')
    expect(made).toBe(await readFile(join(root, 'src/workers/generated.ts'), 'utf8'))
  } finally {
    await rm(copy, { recursive: true })
  }
})
