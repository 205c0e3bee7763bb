import { join } from 'node:path'
import { expect, test } from 'vitest'
import { scratch } from '../support/scratch.ts'
import { bundled, run } from './example.ts'

test('the custom engine finds its notes again, run after run', () => {
  const program = bundled('example:custom')
  const env = { NOTES: join(scratch(), 'notes') }
  expect(run(program, ['Hold', 'fast'], env)).toMatch(
    /^No notes .* yet\.\nNote 1 is durable.*\n"fast" is in the notes 1\./,
  )
  expect(run(program, ['?'], env)).toMatch(/^1 notes restored .*\nNote 2 .*\n"fast" is in the notes 1\./)
  expect(run(program, [], env)).toMatch(/^2 notes restored .*\nNote 3 .*\n"fast" is in the notes 1, 3\./)
})
