// Plans which packs a garbage collection drops and which it rewrites without their garbage. Pure.

/** What is known of a pack. Bytes of blocks include their index entries. */
export interface PackUse {
  id: number
  name: string
  /** Of the file. */
  bytes: number
  /** Of blocks that a kept snapshot needs. */
  liveBytes: number
  /** Of blocks that nothing needs. */
  deadBytes: number
  /** It is not touched: it has bad blocks, which are evidence, or what needs it is not known. */
  isPinned: boolean
}

/** What is done to one pack. */
export interface PackAction {
  /** `drop`: no snapshot needs a block of it. `rewrite`: the blocks that are needed move to a new pack. */
  action: 'drop' | 'rewrite'
  pack: string
  /** Of the file. */
  bytes: number
  /** What moves: bytes of blocks that are needed. */
  liveBytes: number
}

/**
 * A garbage collection leaves at most this part of `live` dead: half, so that packs take at most 1.5 times what they
 * must.
 */
const DEAD_PART = 0.5

/**
 * Packs without a needed block come first, because they cost nothing. Then those that are mostly garbage, the emptiest
 * first, and as many more as it takes until what is dead in all is half of what is live. `complete`: every pack that
 * has a dead block. `automatic`: only those that are mostly garbage. Then packs take at most twice what they must, and
 * each byte that is copied gives back at least one.
 */
export function planGc(
  packs: readonly PackUse[],
  { complete = false, automatic = false }: { complete?: boolean; automatic?: boolean } = {},
): PackAction[] {
  const open = packs.filter(({ isPinned, deadBytes }) => !isPinned && deadBytes > 0)
  const drops = open.filter(({ liveBytes }) => liveBytes === 0)
  const rewrites = open
    .filter(({ liveBytes }) => liveBytes > 0)
    .sort((a, b) => fullness(a) - fullness(b) || a.id - b.id)
  const live = sum(packs.map(({ liveBytes }) => liveBytes))
  let dead = sum(rewrites.map(({ deadBytes }) => deadBytes))
  const chosen = rewrites.filter((pack) => {
    const isMostlyGarbage = pack.deadBytes > pack.liveBytes
    const isChosen = complete || isMostlyGarbage || (!automatic && dead > live * DEAD_PART)
    if (isChosen) dead -= pack.deadBytes
    return isChosen
  })
  return [...drops.map((pack) => actionOn('drop', pack)), ...chosen.map((pack) => actionOn('rewrite', pack))]
}

function actionOn(action: PackAction['action'], { name, bytes, liveBytes }: PackUse): PackAction {
  return { action, pack: name, bytes, liveBytes }
}

function fullness({ liveBytes, deadBytes }: PackUse): number {
  return liveBytes / (liveBytes + deadBytes)
}

/**
 * The actions of a plan that a call carries out which may move so many bytes: with `atLeastOne` always one, if there is
 * any.
 */
export function withinBudget(plan: readonly PackAction[], budgetBytes: number, atLeastOne = true): PackAction[] {
  let moved = 0
  return plan.filter(({ liveBytes }, i) => {
    moved += liveBytes
    return (atLeastOne && i === 0) || moved <= budgetBytes
  })
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, n) => total + n, 0)
}
