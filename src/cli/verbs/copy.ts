// `holdfast copy`: a back-up of a store that is in use.

import { resolve } from 'node:path'
import { EXIT } from '../exit-codes.ts'
import { usage } from '../failure.ts'
import { assertOutside } from '../outside.ts'
import { countText, sizeText } from '../screen.ts'
import { assertMayWrite, isRemote, placeOf, type Session } from '../session.ts'
import type { Outcome, Verb } from '../verb.ts'

interface Options {
  append?: boolean
}

/** The most that a policy can say: `forget` drops snapshots of a copy. */
const KEEP_LAST = 1_000

export const copy: Verb = {
  usage: 'copy <to>',
  summary: 'copy the store into another directory or bucket while it is in use: a back-up',
  description:
    'Only what is missing there travels, and it is read back. The copy is a store: restoring it is opening it, or copying it back. Exit code 10 if ' +
    'the store has packs with bad blocks; they are copied as they are. From or to s3://bucket/prefix, the copy is a store of its own that gets each ' +
    'snapshot it lacks, without tags; it keeps 1,000.',
  examples: [
    'copy /mnt/backup/search -s ./data/search',
    'copy ./data/search -s /mnt/backup/search',
    'copy s3://backup/search -s ./data/search',
  ],
  whenStopped: 'The store is as it was. The next copy goes on from what is there.',
  options: (command) => command.option('--append', 'from or to a bucket: also onto a copy that others wrote to'),
  async run(session, [to], options: Options) {
    if (session.isRemote || isRemote(to!)) return await replicateTo(session, placeOf(to!), options)
    if (options.append === true) throw usage('--append is for copies from or to a bucket')
    const target = resolve(to!)
    assertOutside(target, session.location)
    const store = await session.read()
    assertMayWrite(target)
    const { signal, onProgress } = session
    session.target = { path: target, bytes: null, elsewhere: 'for the copy' }
    const result = await store.copy(target, { signal, onProgress })
    const { sequence, packs, bytes, copiedBytes, damaged } = result
    return {
      document: { store: store.location, to: target, ...result },
      text: () => [
        `snapshot ${sequence ?? 'none'}: ${countText(packs, 'pack')}, ${sizeText(bytes)}, of which ${sizeText(copiedBytes)} were copied to ${target}`,
        ...damaged.map((pack) => `pack ${pack} has bad blocks: verify says what they are of`),
      ],
      isNotice: damaged.length === 0,
      exit: damaged.length === 0 ? EXIT.done : EXIT.damaged,
    }
  },
}

async function replicateTo(session: Session, to: string, { append = false }: Options): Promise<Outcome> {
  const { replicate } = await import('../../index.ts')
  const store = await session.read()
  const target = await session.writeTo(to, { keepLast: KEEP_LAST })
  const { signal, onProgress } = session
  if (!isRemote(to)) session.target = { path: to, bytes: null, elsewhere: 'for the copy' }
  const onto = append ? 'append' : undefined
  const { sequence, snapshots, bytes } = await replicate(store, target, { signal, onProgress, onto })
  return {
    document: { store: store.location, to: target.location, sequence, snapshots, copiedBytes: bytes },
    text: () => [
      `${countText(snapshots, 'snapshot')}, ${sizeText(bytes)}, copied to ${target.location}, whose snapshot ${sequence} is the current one`,
    ],
    isNotice: true,
  }
}
