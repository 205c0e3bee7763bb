// The public entry `holdfast/engines`.

export {
  type Alongside,
  type EngineAdapter,
  type EngineRecord,
  type EngineState,
  type PersistEngineOptions,
  persistEngine,
  type RestoreContext,
  type RestoredEngine,
  type RestoreEngineOptions,
  restoreEngine,
  type SaveContext,
  type SavedEngine,
} from './adapter.ts'
export { engineRecord } from './engine-record.ts'
export { type FollowEngineOptions, followEngine } from './follow.ts'
export { type StartEngineOptions, type StartedEngine, startEngine } from './start.ts'
