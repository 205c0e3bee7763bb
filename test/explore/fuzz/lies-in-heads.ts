// Sealed lies in HEAD.json, HEAD.prev.json and STORE.json.

import type { Random } from '../../support/random.ts'
import type { Lie } from './lies-in-blocks.ts'
import { oddNumber, withOddField } from './odd-values.ts'
import type { Json, LooseStore } from './take-apart.ts'

export const liesInHeads: readonly Lie[] = [lieInHead, lieInHead, lieInHead, lieAnywhere, otherHead]

type Entry = Record<string, unknown>

function someHead({ json }: LooseStore, random: Random): [string, Json] | null {
  const names = ['HEAD.json', 'HEAD.json', 'HEAD.prev.json'].filter((name) => json.has(name))
  if (names.length === 0) return null
  const name = random.pick(names)
  return [name, json.get(name)!]
}

function isListOfEntries(value: unknown): boolean {
  return Array.isArray(value) && value.every((entry) => typeof entry === 'object' && entry !== null)
}

function lieInHead(loose: LooseStore, random: Random): string | null {
  const found = someHead(loose, random)
  if (found === null) return null
  const [file, fields] = found
  const head = structuredClone(fields) as Json & Record<'snapshots' | 'packs' | 'retired' | 'damaged', Entry[]>
  // An earlier lie may have left something else in their place.
  if (![head.snapshots, head.packs, head.retired, head.damaged].every(isListOfEntries)) return null
  const numbers = ['revision', 'sequence', 'current'] as const
  const snapshot = head.snapshots.length === 0 ? null : random.pick(head.snapshots)
  const pack = head.packs.length === 0 ? null : random.pick(head.packs)
  const [name, change] = random.pick<[string, () => unknown]>([
    ['a number', () => odd(head, random.pick(numbers))],
    ['the last numbers', () => Object.assign(head, { [random.pick(numbers)]: Number.MAX_SAFE_INTEGER })],
    ['a number of a snapshot', () => odd(snapshot, random.pick(['sequence', 'pack', 'size']))],
    ['other packs of a snapshot', () => snapshot && Object.assign(snapshot, { packs: [snapshot.pack] })],
    ['another manifest', () => snapshot && Object.assign(snapshot, { manifest: random.pick(head.snapshots).manifest })],
    ['an odd snapshot', () => inside(head.snapshots)],
    ['a snapshot less', () => head.snapshots.splice(random.below(head.snapshots.length + 1), 1)],
    [
      'a snapshot abandoned or not',
      () => snapshot && Object.assign(snapshot, { abandoned: snapshot.abandoned !== true }),
    ],
    ['a number of a pack', () => odd(pack, random.pick(['id', 'bytes', 'blocks', 'live']))],
    ['an odd pack', () => inside(head.packs)],
    ['a pack less', () => head.packs.splice(random.below(head.packs.length + 1), 1)],
    ['a pack twice', () => pack && head.packs.push(pack)],
    [
      'a pack retired',
      () => pack && head.retired.push({ name: pack.name, bytes: pack.bytes, revision: head.revision }),
    ],
    ['an unknown pack', () => head.packs.push({ id: 77, name: 'cd'.repeat(32), bytes: 5_000, blocks: 3, live: null })],
    ['a damaged pack', () => pack && head.damaged.push({ pack: pack.name, digests: [] })],
    ['damaged blocks', () => pack && head.damaged.push({ pack: pack.name, digests: ['ab'.repeat(32)] })],
    ['other writes', () => Object.assign(head, { writes: random.pick<unknown>([[], ['00'.repeat(8)], ['x'], null]) })],
  ])
  change()
  loose.json.set(file, head)
  return `${file} has ${name}`

  function odd(entry: Entry | null, field: string): void {
    if (entry !== null) entry[field] = oddNumber(random, Number(entry[field]))
  }
  function inside(entries: Entry[]): void {
    if (entries.length > 0) entries[0] = withOddField(random, entries[0]) as Entry
  }
}

function lieAnywhere(loose: LooseStore, random: Random): string | null {
  const names = [...loose.json.keys()]
  if (names.length === 0) return null
  const name = random.pick(names)
  loose.json.set(name, jsonOf(withOddField(random, loose.json.get(name))))
  return `${name} has an odd field`
}

/** JSON has neither bytes nor large integers. */
function jsonOf(value: unknown): Json {
  const text = JSON.stringify(value, (_, inside: unknown) => (typeof inside === 'bigint' ? String(inside) : inside))
  const fields: unknown = JSON.parse(text)
  return typeof fields === 'object' && fields !== null && !Array.isArray(fields) ? (fields as Json) : { odd: fields }
}

/** HEAD.json and HEAD.prev.json agree in a lie, or are the same. */
function otherHead(loose: LooseStore, random: Random): string | null {
  const [head, previous] = [loose.json.get('HEAD.json'), loose.json.get('HEAD.prev.json')]
  if (head === undefined || previous === undefined) return null
  if (random.chance(0.5)) loose.json.set('HEAD.prev.json', structuredClone(head))
  else loose.json.set('HEAD.json', structuredClone(previous))
  return 'HEAD.json and HEAD.prev.json are the same'
}
