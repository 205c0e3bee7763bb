import { join } from 'node:path'
import { expect, test } from 'vitest'
import { builtIn, nativeEngine, skipVisibly } from '../engines/native.ts'
import { scratch } from '../support/scratch.ts'
import { bundled, run } from './example.ts'

function works(): boolean {
  if (builtIn<{ backup?: unknown }>('node:sqlite')?.backup !== undefined) return true
  try {
    const Better = nativeEngine<new (path: string) => { close(): void }>('better-sqlite3')
    new Better!(':memory:').close()
    return true
  } catch {
    return false
  }
}

if (!works()) skipVisibly('the SQLite full-text index', '`npm run engines` first')
else {
  test('the SQLite index comes back after its file is gone, run after run', () => {
    const program = bundled('example:sqlite')
    const env = { PASSAGES_DB: join(scratch(), 'passages'), PASSAGES: '500', NODE_NO_WARNINGS: '1' }
    const first = run(program, [], env)
    expect(first).toMatch(/^Nothing in .*\n500 passages indexed .* snapshots so far: [1-9]\d*\.\nOne passage more/)
    expect(first).toMatch(/"kelp" is in: a note\. "error" and "file" are in: \S+, \S+, \S+\.\n.* the same answers\./)
    const [, written, total] = /: (\d+) of (\d+) bytes are new/.exec(first)!
    expect(Number(written)).toBeLessThan(Number(total) / 4)
    expect(run(program, [], env)).toMatch(
      /^501 passages restored .*"kelp" is in: a note, a note\..* the same answers\./s,
    )
  })
}
