import { crashSuite } from './crash-suite.ts'
import { histories, housekeeping, removals } from './scenarios.ts'

crashSuite('history and housekeeping', [...histories, ...housekeeping, ...removals])
