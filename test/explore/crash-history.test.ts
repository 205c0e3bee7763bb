// Searches: a power loss at every call that changes the disk, in every state that it may leave, of history,
// housekeeping and files.

import { crashSuite } from './crash-suite.ts'
import { fullDisk, histories, housekeeping } from './scenarios.ts'
import { files, removals } from './scenarios-files.ts'

crashSuite('history, housekeeping and files', [...histories, ...fullDisk, ...housekeeping, ...files, ...removals])
