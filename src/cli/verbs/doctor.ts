// `holdfast doctor`: whether the place is fit for a store, and what this machine has.

import { EXIT } from '../exit-codes.ts'
import type { Line } from '../screen.ts'
import { hasSigns } from '../session.ts'
import type { Outcome, Verb } from '../verb.ts'

export const doctor: Verb = {
  usage: 'doctor',
  summary:
    'check the directory and its file system, or the server of the bucket; exit code 13 if it is not fit for a store',
  description:
    'It works in a temporary directory inside the given one. A directory that does not exist yet is judged by its nearest parent. In a bucket it ' +
    'writes and deletes objects below probe/.',
  examples: ['doctor -s /var/lib/app/search'],
  async run(session) {
    if (session.isRemote) return await checkServer(session.location)
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
        `Node ${process.version} on ${process.platform} ${process.arch}`,
        ...(holdsStore(session.location)
          ? ['This was about the place. "holdfast verify" checks the store in it.']
          : []),
      ],
      isNotice: report.ok,
      exit: report.ok ? EXIT.done : EXIT.environment,
    }
  },
}

function holdsStore(path: string): boolean {
  try {
    return hasSigns(path)
  } catch {
    // What cannot be looked at is among the checks.
    return false
  }
}

async function checkServer(location: string): Promise<Outcome> {
  const { checkBucket } = await import('../bucket.ts')
  const { ok, requirements } = await checkBucket(location)
  return {
    document: {
      store: location,
      ok,
      path: location,
      fileSystem: 'bucket',
      checks: requirements.map(({ name, state, why }) => ({
        name,
        ok: state === 'met',
        detail: why === '' ? state : why,
      })),
      freeBytes: null,
      node: process.version,
      platform: process.platform,
      arch: process.arch,
    },
    text: () => [
      { text: `${ok ? 'fit' : 'not fit'} for a store: ${location}`, style: ok ? 'green' : 'red' },
      ...requirements.map(
        ({ name, state, why }): Line => [
          { text: state === 'met' ? '  ok   ' : '  bad  ', style: state === 'met' ? 'green' : 'red' },
          `${name}: ${why === '' ? state : why}`,
        ],
      ),
    ],
    isNotice: ok,
    exit: ok ? EXIT.done : EXIT.environment,
  }
}
