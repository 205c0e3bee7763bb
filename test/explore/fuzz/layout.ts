// Files in the wrong place: of another store, of an earlier moment, under another name, or a directory where a file
// should be.

import { fileOf } from '../../support/lab.ts'
import type { Random } from '../../support/random.ts'
import type { BaseStore } from './base-stores.ts'

/** A path that ends in `/` is an empty directory. */
export type Layout = Map<string, Uint8Array>

/** Moves files about in place; answers what was done. */
export function moveFiles(files: Layout, base: BaseStore, others: readonly BaseStore[], random: Random): string[] {
  const done: string[] = []
  for (let times = 1 + random.below(2); times > 0; times--) done.push(random.pick(moves)(files, base, others, random))
  return done
}

type Move = (files: Layout, base: BaseStore, others: readonly BaseStore[], random: Random) => string

const JSON_FILES = ['STORE.json', 'HEAD.json', 'HEAD.prev.json']

const moves: readonly Move[] = [
  swapped,
  swapped,
  ofAnother,
  ofAnother,
  headsOfAnother,
  earlier,
  earlier,
  previousAsHead,
  renamed,
  directoryInPlace,
  junk,
  allPacksGone,
  mixedUp,
]

function put(files: Layout, path: string, bytes: Uint8Array | undefined): void {
  if (bytes === undefined) files.delete(path)
  else files.set(path, bytes)
}

function swapped(files: Layout, _base: BaseStore, _others: readonly BaseStore[], random: Random): string {
  const names = [...files.keys()].filter((name) => name !== 'writer.lock' && !name.endsWith('/'))
  if (names.length < 2) return 'nothing to swap'
  const [one, other] = [random.pick(names), random.pick(names)]
  const bytes = files.get(one)
  put(files, one, files.get(other))
  put(files, other, bytes)
  return `${one} and ${other} have changed places`
}

function ofAnother(files: Layout, _base: BaseStore, others: readonly BaseStore[], random: Random): string {
  const other = random.pick(others)
  const name = random.pick(JSON_FILES)
  const theirs = random.pick(other.earlier).get(name)
  put(files, name, theirs)
  return `${name} is that of another store`
}

function headsOfAnother(files: Layout, _base: BaseStore, others: readonly BaseStore[], random: Random): string {
  const other = random.pick(others)
  for (const name of JSON_FILES.slice(1)) put(files, name, other.earlier.at(-1)!.get(name))
  if (random.chance(0.2)) put(files, 'STORE.json', fileOf(other.image, 'STORE.json'))
  return 'HEAD.json and HEAD.prev.json are those of another store'
}

function earlier(files: Layout, base: BaseStore, _others: readonly BaseStore[], random: Random): string {
  const moment = random.pick(base.earlier)
  const names = random.pick([['HEAD.json'], ['HEAD.prev.json'], ['HEAD.json', 'HEAD.prev.json']])
  for (const name of names) put(files, name, moment.get(name))
  if (random.chance(0.3)) for (const [name, bytes] of moment) if (name.startsWith('packs/')) files.set(name, bytes)
  return `${names.join(' and ')} of an earlier moment`
}

function previousAsHead(files: Layout, _base: BaseStore, _others: readonly BaseStore[], random: Random): string {
  put(files, 'HEAD.json', files.get('HEAD.prev.json'))
  if (random.chance(0.7)) files.delete('HEAD.prev.json')
  return 'HEAD.prev.json stands over HEAD.json'
}

function renamed(files: Layout, _base: BaseStore, _others: readonly BaseStore[], random: Random): string {
  const packs = [...files.keys()].filter((name) => name.startsWith('packs/') && name.endsWith('.pack'))
  if (packs.length === 0) return 'no pack to rename'
  const name = random.pick(packs)
  const to = random.pick([`packs/${'0'.repeat(64)}.pack`, `${name}.old`, name.toUpperCase(), `tmp/${name.slice(6)}`])
  put(files, to, files.get(name))
  if (random.chance(0.7)) files.delete(name)
  return `${name} is ${to}`
}

function directoryInPlace(files: Layout, _base: BaseStore, _others: readonly BaseStore[], random: Random): string {
  const name = random.pick([...files.keys()].filter((each) => each !== 'writer.lock' && !each.endsWith('/')))
  files.delete(name)
  files.set(`${name}/`, new Uint8Array(0))
  return `${name} is a directory`
}

function junk(files: Layout, _base: BaseStore, _others: readonly BaseStore[], random: Random): string {
  const name = random.pick([
    `packs/${'e'.repeat(64)}.pack`,
    'packs/readme',
    'tmp/pack-1',
    'files/x',
    'quarantine/HEAD.json.1',
    'HEAD.json.tmp',
    'lost+found/',
  ])
  files.set(name, name.endsWith('/') ? new Uint8Array(0) : random.bytes(random.below(400)))
  return `there is ${name}`
}

function allPacksGone(files: Layout): string {
  for (const name of [...files.keys()]) if (name.startsWith('packs/')) files.delete(name)
  return 'no pack is there'
}

/** What two stores have lies in one directory: a copy into a directory that was not empty. */
function mixedUp(files: Layout, _base: BaseStore, others: readonly BaseStore[], random: Random): string {
  const other = random.pick(others).earlier.at(-1)!
  const over = random.chance(0.5)
  for (const [name, bytes] of other) if (over || !files.has(name)) files.set(name, bytes)
  return over ? 'another store was copied over it' : 'another store lies below it'
}
