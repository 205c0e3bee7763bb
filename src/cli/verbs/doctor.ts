// `holdfast doctor`: whether the place is fit for a store, and what this machine has.

import { EXIT } from '../exit-codes.ts'
import { type Line, sizeText } from '../screen.ts'
import type { Verb } from '../verb.ts'

export const doctor: Verb = {
  usage: 'doctor',
  summary: 'check the directory and its file system; exit code 13 if it is not fit for a store',
  description:
    'It works in a temporary directory inside the given one. A directory that does not exist yet is judged by its nearest parent.',
  examples: ['doctor -s /var/lib/app/search'],
  async run(session) {
    const { checkDirectory } = await import('../../index.ts')
    const report = await checkDirectory(session.location)
    return {
      document: {
        store: session.location,
        ...report,
        node: process.version,
        platform: process.platform,
        arch: process.arch,
      },
      text: () => [
        { text: `${report.ok ? 'fit' : 'not fit'} for a store: ${report.path}`, style: report.ok ? 'green' : 'red' },
        ...report.checks.flatMap(({ name, ok, detail, advice }): Line[] => [
          [{ text: ok ? '  ok   ' : '  bad  ', style: ok ? 'green' : 'red' }, `${name}: ${detail}`],
          ...(advice === undefined || ok ? [] : [`         ${advice}`]),
        ]),
        ...(report.freeBytes === null
          ? []
          : [
              `${sizeText(report.freeBytes)} are free. Node ${process.version} on ${process.platform} ${process.arch}.`,
            ]),
      ],
      isNotice: report.ok,
      exit: report.ok ? EXIT.done : EXIT.environment,
    }
  },
}
