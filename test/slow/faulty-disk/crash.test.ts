import { crashSuite } from '../../faulty-disk/crash-suite.ts'
import { histories, housekeeping, persists, unknowns } from '../../faulty-disk/scenarios.ts'
import { files, removals } from '../../faulty-disk/scenarios-files.ts'

crashSuite(
  'everything',
  [...persists, ...unknowns, ...histories, ...housekeeping, ...files, ...removals],
  8,
  [1, 2, 3, 4],
)
