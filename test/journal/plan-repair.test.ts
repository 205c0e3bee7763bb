// Which segment a lost HEAD named last, where the segments alone can tell.

import { describe, expect, test } from 'vitest'
import { planRecovery } from '../../src/journal/plan-recovery.ts'
import { planHead } from '../../src/journal/plan-repair.ts'
import { type FoundSegment, type Segment, scan, segment, store } from './build.ts'

/** The tail that is found, what of the journal is damaged then, and the last entry. */
async function recovered(...found: (FoundSegment | Segment)[]) {
  const facts = await Promise.all(found.map((each) => scan(each)))
  const { head } = planHead(facts, store, [])!
  const plan = planRecovery(facts, head)
  if (plan.state !== 'read') throw new Error(`it is ${JSON.stringify(plan)}`)
  return { tail: head.tail.number, damage: plan.damage.map(({ segment, at }) => [segment.number, at]), last: plan.last }
}

function withoutHeader({ name, bytes }: Segment): FoundSegment {
  const torn = bytes.slice()
  torn.fill(0, 0, 512)
  return { name, bytes: torn }
}

/** Entries 1 to 3; the second frame is the last. */
function entries(): Segment {
  const one = segment(1)
  one.entries(10, 20)
  one.entries(30)
  return one
}

describe('a segment whose header is gone, without HEAD', () => {
  test('and that has only the entries which its owner copied was not named: the owner died before that', async () => {
    const one = entries()
    const copy = segment(2, { previous: one.ended('last'), copied: true })
    copy.entries(30)
    expect(await recovered(one, withoutHeader(copy))).toEqual({ tail: 1, damage: [], last: 3 })
    copy.seal()
    expect(await recovered(one, withoutHeader(copy))).toEqual({ tail: 1, damage: [], last: 3 })
    // Nor is it when the power loss took the frame that was copied.
    const torn = { name: one.name, bytes: one.bytes.slice(0, one.frames[1]!.offset) }
    expect(await recovered(torn, withoutHeader(copy))).toEqual({ tail: 1, damage: [], last: 2 })
  })

  test('was named when entries are behind those that were copied', async () => {
    const one = entries()
    const next = segment(2, { previous: one.ended('last'), copied: true })
    next.entries(30)
    next.seal()
    next.entries(40)
    expect(await recovered(one, withoutHeader(next))).toEqual({ tail: 2, damage: [[2, 0]], last: 4 })
  })

  test('was named when it has entries and there was nothing to copy', async () => {
    const one = entries()
    one.seal()
    const next = segment(2, { previous: one.ended() })
    next.entries(40)
    expect(await recovered(one, withoutHeader(next))).toEqual({ tail: 2, damage: [[2, 0]], last: 4 })
    const only = segment(1)
    only.entries(10)
    await expect(recovered(withoutHeader(only))).rejects.toThrow()
  })
})

test('a segment whose copied entries are not whole was not named', async () => {
  const one = entries()
  const copy = segment(2, { previous: one.ended('last'), copied: true })
  const frame = copy.entries(30)
  copy.seal()
  const bytes = copy.bytes.slice()
  bytes[frame.offset + 130] = bytes[frame.offset + 130]! ^ 1
  expect(await recovered(one, { name: copy.name, bytes })).toEqual({ tail: 1, damage: [], last: 3 })
})
