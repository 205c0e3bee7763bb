// The entry of the program `holdfast`: parses the arguments, runs the verb, and ends with its exit code.

import { readFileSync } from 'node:fs'
import { CommanderError } from 'commander'
import { speakToCommandLine } from '../terms.ts'
import { EXIT, type ExitCode } from './exit-codes.ts'
import { usage } from './failure.ts'
import { expectOutputErrors } from './output.ts'
import { createProgram } from './program.ts'
import { reportFailure } from './run.ts'

async function main(argv: readonly string[]): Promise<ExitCode> {
  let exit: ExitCode = EXIT.done
  const program = createProgram(argv, packageVersion(), (code) => {
    exit = code
  })
  try {
    await program.parseAsync(argv, { from: 'user' })
    return exit
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return EXIT.done
    const known = program.commands.map((command) => command.name())
    const verb = argv.find((word) => known.includes(word)) ?? null
    const failure = error instanceof CommanderError ? usage(whatIsWrong(error, argv)) : error
    return await reportFailure(failure, { verb, argv, store: null }, asksForJson(argv))
  }
}

/** In one line: commander puts what may have been meant into a second one. */
function whatIsWrong({ code, message }: CommanderError, [first, second]: readonly string[]): string {
  if (code === 'commander.help' && first === 'help' && second !== undefined)
    return `there is no verb ${JSON.stringify(second)}`
  if (code === 'commander.help') return 'no verb was given'
  return message.replace(/^error: /, '').replaceAll('\n', ' ')
}

/** Arguments that cannot be parsed may still say how a failure is to be written. */
function asksForJson(argv: readonly string[]): boolean {
  const end = argv.indexOf('--')
  return argv.slice(0, end === -1 ? argv.length : end).includes('--json')
}

function packageVersion(): string {
  const path = new URL('../../package.json', import.meta.url)
  return (JSON.parse(readFileSync(path, 'utf8')) as { version: string }).version
}

expectOutputErrors()
speakToCommandLine()
process.exitCode = await main(process.argv.slice(2))
// What is written is handed on by now. Standard input that nobody reads to its end must not keep the process.
process.exit()
