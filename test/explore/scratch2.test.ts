import { appendFileSync } from 'node:fs'
import { test, vi } from 'vitest'
import { randomBytes } from '../faulty-disk/determinism.ts'
import { fuzzStore } from './fuzz/fuzz.ts'

vi.mock('node:crypto', async (original) => ({ ...(await original<object>()), randomBytes }))
const [kinds, from, to, log] = process.env.RANGE!.split(':')
test('range', async () => {
  for (let seed = Number(from); seed < Number(to); seed++) {
    for (const kind of kinds!.split(',')) {
      const { base, done, failures } = await fuzzStore(kind as 'raw', seed)
      for (const { rule, message } of failures)
        appendFileSync(log!, `${kind} ${seed} '${base}' ${done.join(' + ')} | ${rule} | ${message.slice(0, 400)}\n`)
    }
    if (seed % 100 === 99)
      appendFileSync(
        log!,
        `# ${kinds} ${seed + 1} ${new Date().toISOString()} rss ${Math.round(process.memoryUsage.rss() / 2 ** 20)}\n`,
      )
  }
}, 100_000_000)
