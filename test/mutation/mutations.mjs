import { checks } from './checks.mjs'
import { durability } from './durability.mjs'

export const mutations = [...durability, ...checks]
