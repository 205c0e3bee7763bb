import { crashSuite } from '../../faulty-disk/crash-suite.ts'
import { files, histories, housekeeping, persists, removals, unknowns } from '../../faulty-disk/scenarios.ts'

crashSuite(
  'everything',
  [...persists, ...unknowns, ...histories, ...housekeeping, ...files, ...removals],
  8,
  [1, 2, 3, 4],
)
