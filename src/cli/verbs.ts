// The verbs, in the order in which the help shows them: look, save, get back, go back, check, and keep small.

import type { Verb } from './verb.ts'
import { cat } from './verbs/cat.ts'
import { doctor } from './verbs/doctor.ts'
import { materialize } from './verbs/materialize.ts'
import { persist } from './verbs/persist.ts'
import { repair } from './verbs/repair.ts'
import { restore } from './verbs/restore.ts'
import { rollback } from './verbs/rollback.ts'
import { scrub } from './verbs/scrub.ts'
import { show } from './verbs/show.ts'
import { snapshots } from './verbs/snapshots.ts'
import { tag, untag } from './verbs/tag.ts'
import { verify } from './verbs/verify.ts'

export const VERBS: readonly Verb[] = [
  snapshots,
  show,
  cat,
  restore,
  materialize,
  persist,
  tag,
  untag,
  rollback,
  verify,
  scrub,
  repair,
  doctor,
]
