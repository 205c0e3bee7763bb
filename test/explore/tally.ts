import { afterAll } from 'vitest'

/** Adds up what the tests of a file did, and says so in one line at its end. */
export function tally(what: string): (counts: object) => void {
  const sums = new Map<string, number>()
  afterAll(() => {
    const parts = [...sums].map(([name, count]) => `${count.toLocaleString('en')} ${name}`)
    if (parts.length > 0) console.info(`${what}: ${parts.join(', ')}`)
  })
  return (counts) => {
    for (const [name, count] of Object.entries(counts)) {
      if (typeof count === 'number') sums.set(name, (sums.get(name) ?? 0) + count)
    }
  }
}
