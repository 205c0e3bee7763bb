import { crashSuite } from './crash-suite.ts'
import { persists, unknowns } from './scenarios.ts'

crashSuite('persists', [...persists, ...unknowns])
