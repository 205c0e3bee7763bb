// `holdfast export`: a snapshot as one CAR file, which other programs can read.

import { lstatSync } from 'node:fs'
import { resolve } from 'node:path'
import { Refusal, usage } from '../failure.ts'
import { writeOut } from '../output.ts'
import { assertOutside } from '../outside.ts'
import { sizeText } from '../screen.ts'
import { withSnapshot } from '../session.ts'
import type { Verb } from '../verb.ts'
import { snapshotDocument, snapshotText } from './snapshots.ts'

interface ExportOptions {
  output: string
  overwrite?: boolean
}

export const exportVerb: Verb = {
  usage: 'export [snapshot]',
  summary: 'write a snapshot as one CAR file, which other programs can read',
  description:
    'The file is complete and durable, or it is not there. Equal content gives equal bytes, whatever the store. Tags, message and time are not in ' +
    'it. Needs the package @ipld/car.',
  examples: [
    'export -o search.car -s ./data/search',
    'export v1 -o - -s ./data/search | zstd > search.car.zst',
    'export current~1 -o before.car --overwrite -s ./data/search',
  ],
  options: (command) =>
    command
      .requiredOption('-o, --output <file>', 'the file; - for standard output')
      .option('--overwrite', 'replace a file that is there'),
  async run(session, [which], { output, overwrite }: ExportOptions) {
    const { signal, onProgress } = session
    if (output === '-') {
      if (session.json) throw usage('standard output is for the file or for the document: give -o <file> with --json')
      if (process.stdout.isTTY === true)
        throw usage('a CAR file is no text: redirect standard output, or give -o <file>')
      return await withSnapshot(session, which, async (snapshot) => {
        const { exportCar } = await import('../../car/index.ts')
        for await (const bytes of exportCar(snapshot, { signal, onProgress })) await writeOut(bytes)
        return null
      })
    }
    const target = resolve(output)
    assertOutside(target, session.location)
    return await withSnapshot(session, which, async (snapshot) => {
      const { exportCar } = await import('../../car/index.ts')
      const { writeFileDurable } = await import('../../durable.ts')
      if (overwrite !== true && lstatSync(target, { throwIfNoEntry: false }) !== undefined) {
        throw new Refusal('TARGET_EXISTS', 'input', `${target} is there already; --overwrite replaces it`, {
          details: { path: target },
        })
      }
      session.target = { path: target, bytes: snapshot.size, elsewhere: 'with -o' }
      const { bytes } = await writeFileDurable(target, exportCar(snapshot, { signal, onProgress }), { signal })
      return {
        document: {
          store: session.location,
          snapshot: snapshotDocument(snapshot),
          file: target,
          bytes,
          root: snapshot.manifest,
        },
        text: () => [`${snapshotText(snapshot)} exported into ${target}: ${sizeText(bytes)}`],
        isNotice: true,
      }
    })
  },
}
