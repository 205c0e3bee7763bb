// The verbs, in the order in which the help shows them: look, save, get back, go back, check, and keep small.

import type { Verb } from './verb.ts'
import { cat } from './verbs/cat.ts'
import { copy } from './verbs/copy.ts'
import { diff } from './verbs/diff.ts'
import { doctor } from './verbs/doctor.ts'
import { exportVerb } from './verbs/export.ts'
import { forget } from './verbs/forget.ts'
import { gc } from './verbs/gc.ts'
import { importVerb } from './verbs/import.ts'
import { materialize } from './verbs/materialize.ts'
import { persist } from './verbs/persist.ts'
import { quarantine } from './verbs/quarantine.ts'
import { repair } from './verbs/repair.ts'
import { report } from './verbs/report.ts'
import { restore } from './verbs/restore.ts'
import { rollback } from './verbs/rollback.ts'
import { scrub } from './verbs/scrub.ts'
import { show } from './verbs/show.ts'
import { snapshots } from './verbs/snapshots.ts'
import { stats } from './verbs/stats.ts'
import { tag, untag } from './verbs/tag.ts'
import { verify } from './verbs/verify.ts'

export const VERBS: readonly Verb[] = [
  snapshots,
  show,
  diff,
  stats,
  report,
  cat,
  restore,
  materialize,
  persist,
  tag,
  untag,
  rollback,
  forget,
  gc,
  copy,
  exportVerb,
  importVerb,
  verify,
  scrub,
  repair,
  quarantine,
  doctor,
]
