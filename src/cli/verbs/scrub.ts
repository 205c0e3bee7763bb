// `holdfast scrub`: verifies stored bytes, all of them or a slice at a time.

import { type Command, Option } from 'commander'
import { clock } from '../../clock.ts'
import type { Problem, ScrubReport } from '../../index.ts'
import { EXIT } from '../exit-codes.ts'
import { usage } from '../failure.ts'
import { parseDuration, parseSize } from '../notation.ts'
import { sizeText } from '../screen.ts'
import type { Session } from '../session.ts'
import type { Verb } from '../verb.ts'
import { exitCodeOfProblems, problemLines } from './verify.ts'

/** Slices, so that progress is seen and a signal is heard. */
const SLICE_BYTES = 64 * 1024 * 1024

interface Options {
  maxBytes?: number
  maxTime?: number
  cursor?: string
}

export const scrub: Verb = {
  usage: 'scrub',
  summary: 'verify stored bytes, a slice at a time; exit code 10 if something is damaged',
  description:
    'Without limits it is a whole round. A slice ends with a cursor, and --cursor goes on from it. Whether snapshots are complete is what verify checks.',
  examples: ['scrub -s ./data/search', 'scrub --max-time 5m --json -s ./data/search'],
  options: (command: Command) =>
    command
      .addOption(new Option('--max-bytes <size>', 'stop after about so many stored bytes').argParser(parseSize))
      .addOption(new Option('--max-time <duration>', 'stop after about this long').argParser(parseDuration))
      .option('--cursor <text>', 'where the slice before stopped'),
  async run(session, _args, options: Options) {
    if (options.maxTime === 0 || options.maxBytes === 0) throw usage('--max-time and --max-bytes are more than 0')
    const report = await scrubSlices(session, options)
    return {
      document: { store: session.location, ...report },
      text: () => [
        {
          text: `${report.ok ? 'ok' : 'damaged'}: ${report.checked.blocks} blocks, ${sizeText(report.checked.bytes)} checked`,
          style: report.ok ? 'green' : 'red',
        },
        ...problemLines(report.problems),
        ...(report.cursor === null ? [] : [`There is more: go on with --cursor ${report.cursor}`]),
      ],
      isNotice: report.ok,
      exit: report.ok ? EXIT.done : exitCodeOfProblems(report.problems),
    }
  },
}

async function scrubSlices(session: Session, { maxBytes, maxTime, cursor }: Options): Promise<ScrubReport> {
  const store = await session.read()
  const startMs = clock.monotonicMs()
  const total = { blocks: 0, bytes: 0 }
  const problems: Problem[] = []
  let ok = true
  let journal: ScrubReport['journal'] = null
  let at: string | null = cursor ?? null
  for (;;) {
    const slice = await store.scrub({
      cursor: at,
      maxBytes: Math.min(SLICE_BYTES, (maxBytes ?? Number.MAX_SAFE_INTEGER) - total.bytes),
      maxMs: maxTime === undefined ? undefined : maxTime - (clock.monotonicMs() - startMs),
      signal: session.signal,
    })
    total.blocks += slice.checked.blocks
    total.bytes += slice.checked.bytes
    problems.push(...slice.problems)
    ok &&= slice.ok
    journal ??= slice.journal
    at = slice.cursor
    session.onProgress({ phase: 'scrubbing', bytes: total.bytes, totalBytes: null })
    const isSpent =
      (maxBytes !== undefined && total.bytes >= maxBytes) ||
      (maxTime !== undefined && clock.monotonicMs() - startMs >= maxTime)
    if (at === null || isSpent) return { ok, problems, checked: total, journal, cursor: at }
  }
}
