// `holdfast report`: a page about the store, for people.

import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { resolve } from 'node:path'
import { type Command, Option } from 'commander'
import { REPORT_MARK } from '../../report/mark.ts'
import { EXIT } from '../exit-codes.ts'
import { Refusal, usage } from '../failure.ts'
import { assertOutside } from '../outside.ts'
import { sizeText } from '../screen.ts'
import { exitOfUncounted, uncountedLines } from '../uncounted-lines.ts'
import type { Verb } from '../verb.ts'

interface Options {
  output: string
  verify?: 'quick' | 'full'
  redact?: boolean
}

export const report: Verb = {
  usage: 'report',
  summary: 'write a page that shows why the store is this large, what changed, and whether it is well',
  description:
    'One HTML file, which loads nothing. Names, tags and messages are on it; metadata, paths, user and host are not. A report that is there already is ' +
    'replaced, and no other file. The exit code is 10 if something is found to be damaged, as with --verify, and 13 if something could not be read; the ' +
    'page is written all the same.',
  examples: ['report -o report.html -s ./data/search', 'report -o report.html --verify full --redact -s ./data/search'],
  options: (command: Command) =>
    command
      .requiredOption('-o, --output <file>', 'the page')
      .addOption(
        new Option('--verify <level>', 'verify the store first: every structure, or every stored byte').choices([
          'quick',
          'full',
        ]),
      )
      .option('--redact', 'number blobs, tags and packs instead of naming them, and leave messages out'),
  async run(session, _args, { output, verify, redact = false }: Options) {
    if (output === '-') throw usage('the page is written into a file: give its name to --output')
    const target = resolve(output)
    assertOutside(target, session.location)
    assertMayReplace(target)
    const { writeFileDurable } = await import('../../durable.ts')
    const store = await session.read()
    const { signal, onProgress } = session
    const { html, ...rest } = await store.report({ verify, redact, signal, onProgress })
    session.target = { path: target, bytes: Buffer.byteLength(html), elsewhere: 'with -o' }
    const { bytes } = await writeFileDurable(target, html, { signal })
    const notCounted = exitOfUncounted(rest.uncounted, rest.damaged.length > 0)
    const found = rest.ok === null ? 'not verified' : rest.ok ? 'well' : 'damaged'
    return {
      document: { store: store.location, file: target, bytes, verify: verify ?? 'none', redact, ...rest },
      text: () => [
        [`${target}: ${sizeText(bytes)}; the store is `, rest.ok === false ? { text: found, style: 'red' } : found],
        ...uncountedLines(rest.uncounted),
      ],
      isNotice: rest.ok !== false && notCounted === EXIT.done,
      exit: rest.ok === false && notCounted === EXIT.done ? EXIT.damaged : notCounted,
    }
  },
}

/** A mistyped path must not cost a file. @throws TARGET_EXISTS */
function assertMayReplace(path: string): void {
  const there = statSync(path, { throwIfNoEntry: false })
  if (there === undefined || (there.isFile() && beginsAsReport(path))) return
  throw new Refusal('TARGET_EXISTS', 'input', `${path} is there already, and is no report of holdfast`, {
    details: { path },
  })
}

function beginsAsReport(path: string): boolean {
  const file = openSync(path, 'r')
  try {
    const start = Buffer.alloc(REPORT_MARK.length)
    const length = readSync(file, start, 0, start.length, 0)
    return start.toString('latin1', 0, length) === REPORT_MARK
  } finally {
    closeSync(file)
  }
}
