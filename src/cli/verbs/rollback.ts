// `holdfast rollback`: makes an older snapshot the current one again.

import { EXPECTED_HEAD, expectedHead, findSnapshot } from '../session.ts'
import type { Verb } from '../verb.ts'
import { snapshotDocument, snapshotText } from './snapshots.ts'

interface Options {
  message?: string
  discard?: boolean
  expectedHead?: string
}

export const rollback: Verb = {
  usage: 'rollback <snapshot>',
  summary: 'make an older snapshot the current one again',
  description:
    'A new snapshot with the same content becomes the current one, and no block is written. What was stepped over is marked as abandoned and can ' +
    'be rolled back to in turn. A service that has the store open goes on with what it has in memory: restart it.',
  examples: ['rollback current~1 -s ./data/search', 'rollback v1 --message "bad import" -s ./data/search'],
  options: (command) =>
    command
      .option('-m, --message <text>', 'for people who read the history')
      .option(...EXPECTED_HEAD)
      .option('--discard', 'step over entries of the journal that are in no snapshot'),
  async run(session, [to], options: Options) {
    const store = await session.write()
    const target = await findSnapshot(store, to!)
    const { message, discard } = options
    const current = await store.rollback(target.sequence, {
      message,
      discard,
      signal: session.signal,
      ...(await expectedHead(store, options.expectedHead)),
    })
    return {
      document: { store: store.location, to: target.sequence, snapshot: snapshotDocument(current) },
      text: () => [
        target.current
          ? `${snapshotText(target)} is the current one already`
          : `${snapshotText(current)} is the current one now, with the content of ${target.sequence}`,
      ],
      isNotice: true,
    }
  },
}
