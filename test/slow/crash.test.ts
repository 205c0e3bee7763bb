import { crashSuite } from '../explore/crash-suite.ts'
import { fullDisk, histories, housekeeping, persists, unknowns } from '../explore/scenarios.ts'
import { files, removals } from '../explore/scenarios-files.ts'

crashSuite(
  'everything',
  [...persists, ...unknowns, ...histories, ...fullDisk, ...housekeeping, ...files, ...removals],
  8,
  [1, 2, 3, 4],
)
