// `holdfast cat`: the bytes of one blob on standard output, each verified before it is written.

import { usage } from '../failure.ts'
import { writeOut } from '../output.ts'
import { printable } from '../screen.ts'
import { withSnapshot } from '../session.ts'
import type { Verb } from '../verb.ts'

export const cat: Verb = {
  usage: 'cat <blob>',
  summary: 'write the bytes of a blob to standard output',
  description:
    'On a terminal, control characters are written out, so that the content of a blob cannot drive it. Into a file or a pipe go the bytes as they are.',
  examples: ['cat documents.json -s ./data/search', 'cat index --at current~1 -s ./data/search > index.bin'],
  options: (command) => command.option('--at <snapshot>', 'the snapshot; default: the current one'),
  endsBySignal: true,
  async run(session, [name], { at }: { at?: string }) {
    if (session.json) throw usage('cat writes the bytes of a blob: it has no JSON document')
    const toTerminal = process.stdout.isTTY === true
    return await withSnapshot(session, at, async (snapshot) => {
      const { signal } = session
      const onProgress = toTerminal ? undefined : session.onProgress
      const decoder = new TextDecoder()
      for await (const bytes of snapshot.blob(name!).stream({ signal, onProgress })) {
        await writeOut(toTerminal ? harmless(decoder.decode(bytes, { stream: true })) : bytes)
      }
      return null
    })
  },
}

function harmless(text: string): string {
  return text
    .split('\n')
    .map((line) => line.split('\t').map(printable).join('\t'))
    .join('\n')
}
