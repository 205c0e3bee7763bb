// `holdfast gc`: gives back the space of what no snapshot needs. It drops no snapshot.

import { type Command, Option } from 'commander'
import type { GcResult } from '../../index.ts'
import { parseDuration, parseSize } from '../notation.ts'
import { type Line, sizeText } from '../screen.ts'
import type { Verb } from '../verb.ts'

interface Options {
  dryRun?: boolean
  complete?: boolean
  budgetTime?: number
  budgetBytes?: number
}

export const gc: Verb = {
  usage: 'gc',
  summary: 'give back the space of what no snapshot needs',
  description:
    'It drops no snapshot, and works in short steps, so that it may run beside a service. Some garbage stays where giving it back costs more than it ' +
    'is worth. With --complete everything that was dropped is erased, and what may still hold bytes of it is named.',
  examples: ['gc --dry-run -s ./data/search', 'gc -s ./data/search', 'gc --complete -s ./data/search'],
  options: (command: Command) =>
    command
      .option('-n, --dry-run', 'say what would be done, and change nothing')
      .option('--complete', 'erase: rewrite every pack that has a block which nothing needs')
      .addOption(new Option('--budget-time <duration>', 'begin no pack after this long').argParser(parseDuration))
      .addOption(new Option('--budget-bytes <size>', 'move no more than about this much').argParser(parseSize)),
  whenStopped: 'Every snapshot is as it was. What was given back by then stays given back.',
  async run(session, _args, { dryRun = false, complete = false, budgetTime, budgetBytes }: Options) {
    if (complete) session.assertDirectory('gc --complete', 'there, what gc rewrites is deleted a day later')
    // In a bucket the server's time is asked for by writing an object, which is deleted again.
    const store = dryRun && !session.isRemote ? await session.read() : await session.write()
    const { signal, onProgress } = session
    const result = await store.gc({ dryRun, complete, budgetMs: budgetTime, budgetBytes, signal, onProgress })
    return {
      document: { store: store.location, dryRun, ...result },
      text: () => resultLines(result, dryRun, complete),
      isNotice: !dryRun,
    }
  },
}

function resultLines(
  { done, freedBytes, movedBytes, remainingBytes, deadBytes, untouched }: GcResult,
  dryRun: boolean,
  complete: boolean,
): Line[] {
  const lines: Line[] = [
    freedBytes === 0 && movedBytes === 0
      ? 'There is nothing to give back.'
      : dryRun
        ? `Would free ${sizeText(freedBytes)} and copy ${sizeText(movedBytes)}.`
        : `Freed ${sizeText(freedBytes)}; ${sizeText(movedBytes)} were copied.`,
  ]
  if (!done) lines.push(`There is more: another run gives back ${sizeText(remainingBytes)}.`)
  else if (deadBytes > 0)
    lines.push(
      `${sizeText(deadBytes)} of garbage stay: in packs with damage, or not worth what giving them back costs.`,
    )
  if (complete) {
    for (const each of untouched) {
      lines.push(
        `Not touched: ${each.what === 'evidence' ? `pack ${each.pack}, which is evidence of damage` : each.what}`,
      )
    }
  }
  return lines
}
