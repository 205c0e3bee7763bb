import { crashSuite } from './crash-suite.ts'
import { histories, housekeeping } from './scenarios.ts'
import { files, removals } from './scenarios-files.ts'

crashSuite('history, housekeeping and files', [...histories, ...housekeeping, ...files, ...removals])
