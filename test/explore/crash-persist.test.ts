// Searches: a power loss at every call that changes the disk, in every state that it may leave, of persists.

import { crashSuite } from './crash-suite.ts'
import { persists, unknowns } from './scenarios.ts'

crashSuite('persists', [...persists, ...unknowns])
