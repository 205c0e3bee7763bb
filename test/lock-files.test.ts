import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { describe, expect, test } from 'vitest'

// `npm ci` installs what a lock file names, and nothing if it lacks a package. npm leaves out those of other platforms
// when it writes a lock file beside a `node_modules` that has none of them.

interface Locked {
  resolved?: string
  integrity?: string
  dependencies?: Record<string, string>
  devDependencies?: Record<string, string>
  optionalDependencies?: Record<string, string>
}

const kinds = ['dependencies', 'devDependencies', 'optionalDependencies'] as const

/** What `from` finds under a name, as Node looks for it: in its own `node_modules`, then in those above. */
function find(packages: Record<string, Locked>, from: string, name: string): Locked | undefined {
  for (let at = from; ; at = at.slice(0, Math.max(0, at.lastIndexOf('node_modules/') - 1))) {
    const found = packages[`${at === '' ? '' : `${at}/`}node_modules/${name}`]
    if (found !== undefined || at === '') return found
  }
}

describe.each(['', 'bench/', 'bench/engines/'])('%spackage-lock.json', (directory) => {
  const at = (name: string): string => fileURLToPath(new URL(`../${directory}${name}`, import.meta.url))
  const { packages } = JSON.parse(readFileSync(at('package-lock.json'), 'utf8')) as { packages: Record<string, Locked> }

  test('has every package that another one names, also those for other platforms', () => {
    const missing = Object.entries(packages).flatMap(([path, locked]) =>
      // The development of a dependency is its own.
      (path === '' ? kinds : kinds.filter((kind) => kind !== 'devDependencies'))
        .flatMap((kind) => Object.keys(locked[kind] ?? {}))
        .filter((name) => find(packages, path, name) === undefined)
        .map((name) => `${name}, of ${path || 'package.json'}`),
    )
    expect(missing).toEqual([])
  })

  test('fits its package.json', () => {
    const manifest = JSON.parse(readFileSync(at('package.json'), 'utf8')) as Locked
    for (const kind of kinds) expect([kind, packages['']![kind]]).toEqual([kind, manifest[kind]])
  })

  test('has the digest of every package, and the address of none', () => {
    const others = Object.entries(packages).filter(([path]) => path !== '')
    expect(others.filter(([, { integrity }]) => integrity === undefined).map(([path]) => path)).toEqual([])
    expect(others.filter(([, { resolved }]) => resolved !== undefined).map(([path]) => path)).toEqual([])
    expect(readFileSync(at('.npmrc'), 'utf8')).toContain('omit-lockfile-registry-resolved=true')
  })
})
