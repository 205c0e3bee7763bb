// `holdfast copy`: a back-up of a store that is in use.

import { resolve } from 'node:path'
import { EXIT } from '../exit-codes.ts'
import { assertOutside } from '../outside.ts'
import { sizeText } from '../screen.ts'
import { assertMayWrite } from '../session.ts'
import type { Verb } from '../verb.ts'

export const copy: Verb = {
  usage: 'copy <to>',
  summary: 'copy the store into another directory while it is in use: a back-up',
  description:
    'Only what is missing there travels, and it is read back. The copy is a store: restoring it is opening it, or copying it back. Exit code 10 if ' +
    'the store has packs with bad blocks; they are copied as they are.',
  examples: ['copy /mnt/backup/search -s ./data/search', 'copy ./data/search -s /mnt/backup/search'],
  whenStopped: 'The store is as it was. The next copy goes on from what is there.',
  async run(session, [to]) {
    session.assertDirectory('copy', 'its objects are copied by the tools of the bucket')
    const target = resolve(to!)
    assertOutside(target, session.location)
    const store = await session.read()
    assertMayWrite(target)
    const { signal, onProgress } = session
    const result = await store.copy(target, { signal, onProgress })
    const { sequence, packs, bytes, copiedBytes, damaged } = result
    return {
      document: { store: store.location, to: target, ...result },
      text: () => [
        `snapshot ${sequence ?? 'none'}: ${packs === 1 ? '1 pack' : `${packs} packs`}, ${sizeText(bytes)}, of which ${sizeText(copiedBytes)} were copied to ${target}`,
        ...damaged.map((pack) => `pack ${pack} has bad blocks: verify says what they are of`),
      ],
      isNotice: damaged.length === 0,
      exit: damaged.length === 0 ? EXIT.done : EXIT.damaged,
    }
  },
}
