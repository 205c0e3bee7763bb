// Runs one verb: signals stop it, its result goes to standard output, its failure to standard error, and the outcome
// becomes the exit code.

import type { Warning } from '../index.ts'
import { documentText, plainValue } from './document.ts'
import { EXIT, type ExitCode, type StopSignal } from './exit-codes.ts'
import { type Attempt, failureOf, Interrupted, usage } from './failure.ts'
import { ReaderGone, writeError, writeOut } from './output.ts'
import { createProgressLine } from './progress-line.ts'
import { type Line, render, screenOf } from './screen.ts'
import { type CommonOptions, createSession } from './session.ts'
import type { Outcome, Verb } from './verb.ts'

/** A path that is empty would be the working directory: most likely a variable of the shell is not set. */
function assertNotEmpty(args: readonly string[], { output }: CommonOptions & { output?: string }): void {
  if (args.includes('')) throw usage('an argument is empty: is a variable not set?')
  if (output === '') throw usage('--output is empty: is a variable not set?')
}

/** The version of the documents. Within a version, fields are only added. */
const DOCUMENT_VERSION = 1

/** Runs a verb to its end, and gives the exit code. */
export async function runVerb(
  verb: Verb,
  name: string,
  args: readonly string[],
  options: CommonOptions,
  argv: readonly string[],
): Promise<ExitCode> {
  const json = options.json === true
  const line =
    process.stderr.isTTY === true && !json && options.quiet !== true ? createProgressLine(name, process.stderr) : null
  const stop = stopBySignals(verb.endsBySignal === true ? [] : ['SIGINT', 'SIGTERM'])
  const session = createSession({
    verb: name,
    options,
    signal: stop.signal,
    onProgress: (progress) => line?.onProgress(progress),
    onWarning(warning) {
      if (json) return
      line?.clear()
      void writeError(render([warningLine(warning)], screenOf(process.stderr)))
    },
  })
  try {
    let outcome: Outcome | null
    try {
      assertNotEmpty(args, options)
      outcome = await verb.run(session, args, options)
    } finally {
      line?.end()
      await session.close()
    }
    if (outcome === null) return EXIT.done
    if (json) {
      const warnings = session.warnings.map(plainWarning)
      const document = { holdfast: DOCUMENT_VERSION, command: name, ...outcome.document, warnings }
      await writeOut(`${documentText(document)}\n`)
    } else if (outcome.isNotice !== true || options.quiet !== true) {
      const screen = screenOf(process.stdout)
      await writeOut(render(outcome.text(screen), screen))
    }
    return outcome.exit ?? EXIT.done
  } catch (error) {
    const { reason } = stop.signal
    const cause = comesFrom(error, reason) ? reason : error
    const { target, place: location } = session
    const attempt: Attempt = {
      verb: name,
      argv,
      store: options.store ?? null,
      whenStopped: verb.whenStopped,
      location,
      target,
    }
    return await reportFailure(cause, attempt, json, session.warnings)
  } finally {
    stop.release()
  }
}

/**
 * Whether an error is the abort, or was caused by it. Others are told as they are: a commit that is not known to be
 * durable is no abort.
 */
function comesFrom(error: unknown, reason: unknown): boolean {
  if (!(reason instanceof Interrupted)) return false
  for (let cause = error; cause instanceof Error; cause = cause.cause) if (cause === reason) return true
  return false
}

/** Writes a failure, as one object with `json`, and gives its exit code. */
export async function reportFailure(
  error: unknown,
  attempt: Attempt,
  json: boolean,
  warnings: readonly Warning[] = [],
): Promise<ExitCode> {
  if (error instanceof ReaderGone) return EXIT.done
  const { failure, exit, safe } = await failureOf(error, attempt)
  if (json) {
    const object = {
      holdfast: DOCUMENT_VERSION,
      command: attempt.verb,
      ...failure,
      warnings: warnings.map(plainWarning),
    }
    await writeError(`${documentText(object)}\n`)
    return exit
  }
  const lines: Line[] = [
    [
      { text: 'holdfast: ', style: 'red' },
      failure.message,
      failure.kind === 'interrupted' || hasCode(failure.code) ? '' : ` (${failure.code})`,
    ],
  ]
  if (safe !== '') lines.push(safe)
  if (failure.next !== null) lines.push(['Next: ', { text: failure.next, style: 'bold', whole: true }])
  await writeError(render(lines, screenOf(process.stderr)))
  return exit
}

/** Codes that say nothing to people which the message does not. */
function hasCode(code: string): boolean {
  return code === 'USAGE' || code === 'UNEXPECTED'
}

function warningLine({ code, message }: Warning): Line {
  return [{ text: 'warning: ', style: 'yellow' }, `${message} (${code})`]
}

function plainWarning({ code, message, details }: Warning): unknown {
  return { code, message, details: plainValue(details) }
}

/**
 * The first signal stops the command at the next safe moment. The second ends the process at once, which harms no
 * store.
 */
function stopBySignals(names: readonly StopSignal[]): { signal: AbortSignal; release(): void } {
  const controller = new AbortController()
  const listeners = names.map((name) => {
    const listener = (): void => {
      if (!controller.signal.aborted) controller.abort(new Interrupted(name))
      else {
        release()
        process.kill(process.pid, name)
      }
    }
    process.on(name, listener)
    return [name, listener] as const
  })
  function release(): void {
    for (const [name, listener] of listeners) process.off(name, listener)
  }
  return { signal: controller.signal, release }
}
