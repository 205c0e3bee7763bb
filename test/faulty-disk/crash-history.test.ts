import { crashSuite } from './crash-suite.ts'
import { files, histories, housekeeping, removals } from './scenarios.ts'

crashSuite('history, housekeeping and files', [...histories, ...housekeeping, ...files, ...removals])
