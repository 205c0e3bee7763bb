// The public entry `holdfast/engines`.

export {
  type Alongside,
  type EngineAdapter,
  type EngineFile,
  type EngineFileOptions,
  type EngineRecord,
  type EngineState,
  type ImageChoice,
  type PersistEngineOptions,
  type PersistEngineResult,
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
