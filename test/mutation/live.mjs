// The rules of live engines, as in `durability.mjs`, each with the tests that catch its absence.

const live = ['test/engines/live.test.ts']
const slow = ['test/engines/live-async.test.ts']

/** @type {import('./durability.mjs').Mutation[]} */
export const liveEngines = [
  {
    file: 'src/engines/live-changes.ts',
    find: 'journal.assertTakes(data.length)',
    replace: '',
    why: 'a change that the journal does not take is not applied',
    tests: live,
  },
  {
    file: 'src/engines/live-saves.ts',
    find: 'captured = { sequence: journal.last, ...all }',
    replace: 'captured = { sequence: journal.last - 1, ...all }',
    why: 'what a snapshot covers is what it holds: otherwise a change is applied twice',
    tests: live,
  },
  {
    file: 'src/engines/live-saves.ts',
    find: 'if (changes.unsound !== null) throw changes.unsound\n    let done',
    replace: 'let done',
    why: 'an engine that a failed change has moved is not saved',
    tests: live,
  },
  {
    file: 'src/engines/live-changes.ts',
    find: 'await durable\n',
    replace: '\n',
    why: 'a change is durable when it is acknowledged',
    tests: live,
  },
  {
    file: 'src/engines/replay.ts',
    find: 'const covers = restored?.snapshot.covers ?? 0\n',
    replace: 'const covers = 0\n',
    why: 'what the snapshot holds is not applied again',
    tests: live,
  },
  {
    file: 'src/engines/live.ts',
    find: 'if (started.replayed.skipped.length > 0) await saveSkipped(live)',
    replace: '',
    why: 'a change that a start left out is recorded before the next change is acknowledged',
    tests: live,
  },
  {
    file: 'src/engines/replay.ts',
    find: ' || !isWhole) throw',
    replace: ') throw',
    why: 'a change that moved the engine before it failed cannot be left out',
    tests: live,
  },
  {
    file: 'src/persist/covers.ts',
    find: ', ...left])',
    replace: '])',
    why: 'a snapshot records which entries it does not hold',
    tests: ['test/store/journal.test.ts', ...live],
  },
  {
    file: 'src/persist/covers.ts',
    find: 'journal.skips.filter(([, last]) => last <= covers)',
    replace: 'journal.skips',
    why: 'a snapshot says nothing of entries behind those that it covers',
    tests: ['test/store/journal.test.ts'],
  },
  {
    file: 'src/engines/live-changes.ts',
    find: 'throw changeUnknown(sequence, error)',
    replace: 'throw error',
    why: 'a change of unknown outcome says which it is',
    tests: slow,
  },
  {
    file: 'src/engines/adapter.ts',
    find: 'for (let busy = adapter.ready?.(engine); busy !== undefined; busy = adapter.ready?.(engine)) {',
    replace: 'for (let busy: PromiseLike<unknown> | undefined; busy !== undefined; ) {',
    why: 'an engine is not captured while a change is being applied',
    tests: slow,
  },
  {
    file: 'src/engines/live-changes.ts',
    find: 'captureWaits = true\n',
    replace: '\n',
    why: 'a capture does not wait for all the changes that wait',
    tests: slow,
  },
  {
    file: 'src/engines/live-changes.ts',
    find: 'if (applying !== null) await applying\n      else if (held',
    replace: 'if (held',
    why: 'a change is applied when the one before it is',
    tests: slow,
  },
  {
    file: 'src/engines/live-changes.ts',
    find: ' || inside?.getStore()?.isDone === false',
    replace: '',
    why: 'a change inside a promise of apply does not wait for itself',
    tests: slow,
  },
  {
    file: 'src/journal/appender.ts',
    find: 'else if (failed !== null) return neverWritten()',
    replace: '',
    why: 'a change that was applied when the journal had failed has a number of its own',
    tests: slow,
  },
  {
    file: 'src/engines/live-saves.ts',
    find: 'while (sequence > saved.sequence) {',
    replace: 'while (sequence > saved.sequence && journal.error === null) {',
    why: 'a change is not called durable before a snapshot holds it',
    tests: slow,
  },
]
