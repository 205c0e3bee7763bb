// The command line as commander knows it: the verbs, the options that all of them take, and their help.

import { Command, Option } from 'commander'
import type { ExitCode } from './exit-codes.ts'
import { parseDuration } from './notation.ts'
import { runVerb } from './run.ts'
import type { CommonOptions } from './session.ts'
import type { Verb } from './verb.ts'
import { VERBS } from './verbs.ts'

const EXIT_CODES = `
Exit codes: 0 done, 1 unexpected, 2 usage, 10 damaged, 11 busy, 12 conflict,
13 environment, 14 unsupported, 15 refused or not found, 16 too old, 130 and
143 stopped by a signal. docs/command-line.md in the package has all of it.`

const NOTATION = `
A snapshot is written as its number (41), a tag (v1, or tag:v1), current, or
current~2 for the second before it.`

/** The program. `onExit` gets the exit code of the verb that ran. */
export function createProgram(argv: readonly string[], version: string, onExit: (code: ExitCode) => void): Command {
  const program = new Command('holdfast')
    .description('Crash-safe, incremental, verified snapshots: look at a store, save, restore, check and repair.')
    .usage('[options] <verb>')
    .exitOverride()
    // Failures are written in one form, by whoever catches them.
    .configureOutput({ outputError: () => undefined, writeErr: () => undefined })
    .configureHelp({ showGlobalOptions: true, subcommandTerm: (command) => command.name() })
    .option('-s, --store <dir>', 'the directory of the store, or s3://bucket/prefix; default: HOLDFAST_STORE')
    .option('--json', 'write exactly one JSON document to standard output; a failure is one object on standard error')
    .option('-q, --quiet', 'no progress, and no word of what is done')
    .addOption(
      new Option('--lock-wait <duration>', 'how long to wait for another writer; default: 30s').argParser(
        parseDuration,
      ),
    )
    .version(version, '-V, --version', 'show the version')
    .addHelpText('after', `${NOTATION}\n${EXIT_CODES}`)
    .helpCommand('help [verb]', 'show the help of a verb')
  for (const verb of VERBS) addVerb(program, verb, argv, onExit)
  return program
}

function addVerb(program: Command, verb: Verb, argv: readonly string[], onExit: (code: ExitCode) => void): void {
  const command = program.command(verb.usage).summary(verb.summary)
  command.description(verb.description === undefined ? verb.summary : `${verb.summary}\n\n${verb.description}`)
  verb.options?.(command)
  const examples = verb.examples
    .map((example) => `  $ ${/\| holdfast /.test(example) ? '' : 'holdfast '}${example}`)
    .join('\n')
  command.addHelpText('after', `\nExamples:\n${examples}`)
  command.action(async () => {
    onExit(await runVerb(verb, command.name(), command.args, command.optsWithGlobals<CommonOptions>(), argv))
  })
}
