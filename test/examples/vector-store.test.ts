import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { nativeEngine, skipVisibly } from '../engines/native.ts'
import { scratch } from '../support/scratch.ts'
import { bundled, root, run } from './example.ts'

if (nativeEngine('usearch') === null) skipVisibly('the vector store', '`npm run engines` first')
else {
  test('vectors and passages agree in every snapshot, also after the store was killed', async () => {
    const program = bundled('example:vectors')
    const env = { VECTORS: join(scratch(), 'vectors'), PASSAGES: '600' }
    expect(run(program, [], env)).toMatch(
      /^Nothing in .*(\nSnapshot \d+: (\d+) vectors, \2 passages, and they agree\.)+\nNearest to .*(\n {2}0\.\d\d {2}\S+){3}\n/s,
    )
    for (let n = 0; n < 3; n++) {
      const child = spawn(process.execPath, [program], { cwd: root, env: { ...process.env, ...env } })
      const closed = once(child, 'close')
      let said = ''
      for await (const text of child.stdout.setEncoding('utf8')) {
        said += text
        if (said.includes('are put in')) break
      }
      await setTimeout(Math.random() * 400)
      child.kill('SIGKILL')
      await closed
      expect(said).toMatch(/^\d+ passages restored/)
    }
    expect(run(program, [], env)).toMatch(/^\d+ passages restored .*\nSnapshot \d+: 600 vectors, 600 passages/s)
  })
}
