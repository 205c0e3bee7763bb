// `holdfast forget`: drops snapshots, those that are named or those that a policy does not keep.

import type { Command } from 'commander'
import type { ForgetWhich, Forgotten, Store } from '../../index.ts'
import { usage } from '../failure.ts'
import { addKeepOptions, type KeepOptions, keepOf } from '../keep-options.ts'
import { keptLines } from '../kept-lines.ts'
import { parseSnapshot } from '../notation.ts'
import { type Line, type Screen, sizeText } from '../screen.ts'
import { EXPECTED_HEAD, expectedHead, findSnapshot } from '../session.ts'
import type { Verb } from '../verb.ts'

export const forget: Verb = {
  usage: 'forget [snapshot...]',
  summary: 'drop snapshots, or apply a policy now',
  description:
    'Name snapshots, or give --keep-… options: a snapshot stays when any of them keeps it. The current one and tagged ones always stay. A tagged ' +
    'snapshot can be named by its tags only. Its bytes are given back by later saves, or by gc.',
  examples: [
    'forget 41 42 -s ./data/search',
    'forget tag:v1 -s ./data/search',
    'forget --keep-last 3 --keep-daily 14 --dry-run -s ./data/search',
  ],
  options: (command: Command) =>
    addKeepOptions(command)
      .option(...EXPECTED_HEAD)
      .option('-n, --dry-run', 'say what would be dropped and freed, and change nothing'),
  async run(session, args, options: KeepOptions & { dryRun?: boolean; expectedHead?: string }) {
    const keep = keepOf(options)
    if (keep === null && args.length === 0) throw usage('name the snapshots to forget, or give --keep-… options')
    if (keep !== null && args.length > 0) throw usage('name snapshots, or give --keep-… options, but not both')
    const { dryRun = false } = options
    const store = dryRun ? await session.read() : await session.write()
    const which: ForgetWhich = keep === null ? await namedBy(store, args) : { keep }
    const forgotten = await store.forget(which, {
      dryRun,
      signal: session.signal,
      ...(await expectedHead(store, options.expectedHead)),
    })
    const { dropped, kept, freesBytes } = forgotten
    return {
      document: { store: store.location, dryRun, dropped, kept, freesBytes },
      text: (screen) => forgottenLines(forgotten, dryRun, screen),
      isNotice: !dryRun,
    }
  },
}

/** Sequences and tags, as they were meant: a tag names its snapshot in another way than a number does. */
async function namedBy(store: Store, args: readonly string[]): Promise<(number | string)[]> {
  const named: (number | string)[] = []
  for (const text of args) {
    const name = parseSnapshot(text)
    named.push(name.kind === 'tag' ? name.tag : (await findSnapshot(store, text)).sequence)
  }
  return named
}

function forgottenLines({ dropped, kept, freesBytes }: Forgotten, dryRun: boolean, screen: Screen): Line[] {
  const frees =
    freesBytes === null ? 'an unknown number of bytes, because a snapshot cannot be read' : sizeText(freesBytes)
  const freeing =
    dropped.length === 1 ? (dryRun ? 'It frees' : 'It freed') : dryRun ? 'Together they free' : 'Together they freed'
  const what =
    dropped.length === 0
      ? 'No snapshot is dropped.'
      : `${dryRun ? 'Would drop' : 'Dropped'} ${dropped.length} of ${dropped.length + kept.length}: ${dropped.join(', ')}. ${freeing} ${frees}.`
  return [what, ...keptLines(kept, screen)]
}
