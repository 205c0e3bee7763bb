import { car } from './car.mjs'
import { checks } from './checks.mjs'
import { durability } from './durability.mjs'
import { images } from './images.mjs'
import { journal } from './journal.mjs'
import { liveEngines } from './live.mjs'
import { objects } from './objects.mjs'
import { space } from './space.mjs'

export const mutations = [...durability, ...checks, ...car, ...images, ...journal, ...liveEngines, ...objects, ...space]
