import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openStore } from 'holdfast'
import { persistEngine, restoreEngine } from 'holdfast/engines'
import { plain } from 'holdfast/engines/plain'

/** An engine of one's own: the numbers of the notes that a word is in. */
class Notes {
  count = 0
  words = new Map<string, number[]>()

  add(note: string): void {
    this.count += 1
    for (const word of new Set(note.toLowerCase().match(/\w+/g))) {
      this.words.set(word, [...(this.words.get(word) ?? []), this.count])
    }
  }
}

/** A line for each word: another note changes a few lines, and only the chunks that they are in are written. */
const adapter = plain<Notes>({
  name: 'notes',
  save({ count, words }) {
    const lines = [...words].map((entry) => JSON.stringify(entry))
    return { blobs: { count: String(count), words: lines.join('\n') } }
  },
  async restore(saved) {
    const lines = (await saved.blob('words').text()).split('\n')
    const words = lines.filter(Boolean).map((line) => JSON.parse(line) as [string, number[]])
    return Object.assign(new Notes(), { count: await saved.blob('count').json<number>(), words: new Map(words) })
  },
})

const path = process.env.NOTES ?? join(tmpdir(), 'holdfast-custom-engine')
const store = await openStore(path)
const restored = await restoreEngine(store, adapter, { fallback: true })
const notes = restored?.engine ?? new Notes()
await restored?.dispose()
console.log(restored ? `${notes.count} notes restored from ${path}.` : `No notes in ${path} yet.`)

notes.add(process.argv.slice(2).join(' ') || `kelp holds fast to rock ${notes.count + 1}`)
const { sequence, bytes } = await persistEngine(store, adapter, notes)
console.log(`Note ${notes.count} is durable, in snapshot ${sequence}; ${bytes.written} bytes were written.`)
console.log(
  `"fast" is in the notes ${notes.words.get('fast')?.join(', ') ?? '(none)'}. Run it again, or with a note of yours.`,
)
await store.close()
