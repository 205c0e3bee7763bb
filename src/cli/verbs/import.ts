// `holdfast import`: the snapshot in a CAR file becomes the current one.

import { statSync } from 'node:fs'
import { type Command, Option } from 'commander'
import { Refusal } from '../failure.ts'
import { addKeepOptions, KEEP_ALL, type KeepOptions, keepOf } from '../keep-options.ts'
import { parseCount } from '../notation.ts'
import { expectedHead } from '../session.ts'
import { standardInput } from '../standard-input.ts'
import type { Verb } from '../verb.ts'
import { resultDocument, resultLines } from './persist.ts'

interface ImportOptions extends KeepOptions {
  init?: boolean
  message?: string
  expectedHead?: string
  covers?: number
}

export const importVerb: Verb = {
  usage: 'import <file>',
  summary: 'make the snapshot in a CAR file the current one',
  description:
    'Takes what `export` wrote, of whatever store; - is standard input. Every block is checked, and nothing changes unless the whole file is as it ' +
    'should be. Every older snapshot is kept unless --keep-… options are given. Needs the package @ipld/car.',
  examples: ['import search.car -s ./data/search', 'zstd -dc search.car.zst | holdfast import - --init -s ./data/new'],
  options: (command: Command) =>
    addKeepOptions(command)
      .option('--init', 'make the store if there is none there')
      .option('-m, --message <text>', 'for people who read the history')
      .option('--expected-head <snapshot>', 'fail if another snapshot is the current one; none: if there is one')
      .addOption(
        new Option('--covers <n>', 'the blobs hold the effect of the entries of the journal up to this one').argParser(
          (text) => parseCount(text, 0),
        ),
      ),
  async run(session, [file], options: ImportOptions) {
    const source = file === '-' ? standardInput() : { file: fileAt(file!) }
    const store = await session.write({ init: options.init })
    if (options.covers !== undefined) await store.openJournal()
    const { importCar } = await import('../../car/index.ts')
    const result = await importCar(store, source, {
      message: options.message,
      covers: options.covers,
      keep: keepOf(options) ?? KEEP_ALL,
      signal: session.signal,
      onProgress: session.onProgress,
      ...(await expectedHead(store, options.expectedHead)),
    })
    return {
      document: { store: store.location, ...resultDocument(result) },
      text: () => resultLines(result),
      isNotice: true,
    }
  },
}

/** What is no file is a typing mistake, told before the store is made or locked. */
function fileAt(path: string): string {
  const there = statSync(path, { throwIfNoEntry: false })
  if (there !== undefined && !there.isDirectory()) return path
  const what = there === undefined ? 'does not exist' : 'is a directory, and a CAR file is wanted, as export writes it'
  throw new Refusal('SOURCE_FAILED', 'input', `${path} ${what}`, { details: { path } })
}
