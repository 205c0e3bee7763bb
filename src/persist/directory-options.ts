// What of a directory becomes blobs: the options of a `{ directory }`.

import { type OptionTable, refusePromise } from '../misuse.ts'

/** What of a directory is kept, and how. */
export interface DirectoryOptions {
  /**
   * What to leave out, with all below it: names (`node_modules`, `*.tmp`) or paths below the directory (`cache/*.bin`),
   * in which `*` stands for any text without `/`; or a function that gets the path below the directory (with `/`, of a
   * directory at the end as well) and answers whether to leave it out.
   */
  exclude?: readonly string[] | ((path: string) => boolean) | undefined
  /** Takes what a symbolic link leads to, in its place. Otherwise links are refused. Default false. */
  followLinks?: boolean | undefined
  /** Keeps the permission bits of files and directories; `writeTo` sets them again. Default false. */
  keepModes?: boolean | undefined
}

export const DIRECTORY_OPTIONS: OptionTable<DirectoryOptions> = {
  exclude: 'any',
  followLinks: 'boolean',
  keepModes: 'boolean',
}

/** Whether a path below the directory is left out. Directories end in `/`. */
export type Excluded = (path: string) => boolean

/** @throws TypeError for what cannot tell */
export function excludedBy(exclude: unknown, where: string): Excluded {
  if (exclude === undefined) return () => false
  if (typeof exclude === 'function') {
    return (path) => {
      const answer: unknown = exclude(path)
      refusePromise(answer, `${where}: the answer of exclude`)
      return answer === true
    }
  }
  if (!Array.isArray(exclude) || !exclude.every((pattern) => typeof pattern === 'string' && pattern !== '')) {
    throw new TypeError(`${where}: exclude must be a list of names or paths, or a function`)
  }
  const patterns = (exclude as string[]).map(patternOf)
  return (path) => {
    const plain = path.endsWith('/') ? path.slice(0, -1) : path
    return patterns.some(({ whole, regExp }) => regExp.test(whole ? plain : plain.slice(plain.lastIndexOf('/') + 1)))
  }
}

/** `whole`: it is compared with the path, and not with the last name in it. */
function patternOf(pattern: string): { whole: boolean; regExp: RegExp } {
  const plain = pattern.replace(/^\.?\//, '').replace(/\/$/, '')
  const source = plain
    .split('*')
    .map((text) => text.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
    .join('[^/]*')
  return {
    whole: plain.includes('/') || pattern.startsWith('/') || pattern.startsWith('./'),
    regExp: new RegExp(`^${source}$`, 's'),
  }
}
