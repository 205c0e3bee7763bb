// Backup tools as commands.

import { execFileSync, spawnSync } from 'node:child_process'

export function installed(command: string): boolean {
  return spawnSync(command, ['--version']).error === undefined
}

export function run(command: string, args: readonly string[], options: { cwd?: string; home: string }): void {
  const { cwd, home } = options
  execFileSync(command, args, {
    ...(cwd === undefined ? {} : { cwd }),
    stdio: ['ignore', 'ignore', 'pipe'],
    env: {
      ...process.env,
      HOME: home,
      RESTIC_PASSWORD: 'benchmark',
      BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
    },
  })
}
