// `holdfast tag` and `holdfast untag`: names for snapshots. Tagged snapshots are kept.

import { usage } from '../failure.ts'
import { EXPECTED_HEAD, expectedHead, findSnapshot } from '../session.ts'
import type { Verb } from '../verb.ts'
import { snapshotDocument, snapshotText } from './snapshots.ts'

export const tag: Verb = {
  usage: 'tag <name>',
  summary: 'name a snapshot, so that it is kept; a tag that another one has moves',
  examples: ['tag v1 -s ./data/search', 'tag before-import --at current~1 -s ./data/search'],
  options: (command) =>
    command.option('--at <snapshot>', 'the snapshot; default: the current one').option(...EXPECTED_HEAD),
  async run(session, [given], options: { at?: string; expectedHead?: string }) {
    const name = tagName(given!)
    const store = await session.write()
    const { sequence } = await findSnapshot(store, options.at ?? 'current')
    const tagged = await store.tag(name, {
      at: sequence,
      signal: session.signal,
      ...(await expectedHead(store, options.expectedHead)),
    })
    return {
      document: { store: store.location, tag: name, snapshot: snapshotDocument(tagged) },
      text: () => [`${snapshotText(tagged)} is tagged ${name}`],
      isNotice: true,
    }
  },
}

export const untag: Verb = {
  usage: 'untag <name>',
  summary: 'take a tag away; the snapshot stays until it is dropped',
  examples: ['untag v1 -s ./data/search'],
  async run(session, [given]) {
    const name = tagName(given!)
    const store = await session.write()
    const untagged = await store.untag(name, { signal: session.signal })
    return {
      document: { store: store.location, tag: name, snapshot: snapshotDocument(untagged) },
      text: () => [`${snapshotText(untagged)} is no longer tagged ${name}`],
      isNotice: true,
    }
  },
}

/** `tag:v1` is how a tag is written where a snapshot is meant. */
function tagName(given: string): string {
  const name = given.startsWith('tag:') ? given.slice('tag:'.length) : given
  if (name === '' || name.length > 256 || /[\p{Cc}\p{Cs}]/u.test(name)) {
    throw usage('a tag is text of 1 to 256 characters without control characters')
  }
  return name
}
