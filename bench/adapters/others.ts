import { execFileSync, spawnSync } from 'node:child_process'
import { readdirSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { CHANGES, type Change, type EngineResult } from './result.ts'

interface Other {
  name: string
  installed(): boolean
  init(repository: string): void
  backup(repository: string, directory: string): void
}

function run(program: string, args: readonly string[], cwd?: string): void {
  const env = {
    ...process.env,
    RESTIC_PASSWORD: 'x',
    BORG_UNKNOWN_UNENCRYPTED_REPO_ACCESS_IS_OK: 'yes',
    BORG_RELOCATED_REPO_ACCESS_IS_OK: 'yes',
  }
  execFileSync(program, args, { env, cwd, stdio: 'ignore' })
}

function installed(program: string): boolean {
  return spawnSync(program, ['--help'], { stdio: 'ignore' }).error === undefined
}

const otherPrograms: readonly Other[] = [
  {
    name: 'restic',
    installed: () => installed('restic'),
    init: (repository) => run('restic', ['-r', repository, '--no-cache', 'init']),
    backup: (repository, directory) =>
      run('restic', ['-r', repository, '--no-cache', '--compression', 'off', 'backup', '.'], directory),
  },
  {
    name: 'borg',
    installed: () => installed('borg'),
    init: (repository) => run('borg', ['init', '-e', 'none', repository]),
    backup: (repository, directory) =>
      run('borg', ['create', '-C', 'none', `${repository}::${Date.now()}`, '.'], directory),
  },
]

/** New bytes that other programs keep of an engine's own files. */
export function others(files: Record<Change | 'base', string>, scratch: string): EngineResult['others'] {
  return otherPrograms.map(({ name, installed, init, backup }) => {
    if (!installed()) {
      process.stderr.write(`${name} is not installed: not compared with\n`)
      return { name, written: null }
    }
    const written = {} as Record<Change, number>
    for (const change of CHANGES) {
      // All from one place: paths count, too.
      const repository = join(scratch, `${name}-${change}`)
      const work = join(scratch, 'work')
      const put = (from: string): void => {
        rmSync(work, { recursive: true, force: true })
        execFileSync('cp', ['-r', from, work])
      }
      init(repository)
      put(files.base)
      backup(repository, work)
      const before = sizeOf(repository)
      put(files[change])
      backup(repository, work)
      written[change] = sizeOf(repository) - before
      rmSync(repository, { recursive: true })
    }
    return { name, written }
  })
}

/** Bytes of all files below. */
export function sizeOf(directory: string): number {
  return readdirSync(directory, { recursive: true, withFileTypes: true }).reduce(
    (sum, entry) => sum + (entry.isFile() ? statSync(join(entry.parentPath ?? entry.path, entry.name)).size : 0),
    0,
  )
}
