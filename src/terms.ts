// What messages tell a reader to do, in the words of whoever reads them: methods and options for a program, verbs and
// flags for the command line. A message takes its term from here when it is made, and so do warnings, problems and
// causes in it.

/** Each as a program says it, and as the command line does. */
const TERMS = {
  repair: ['repair()', '"holdfast repair"'],
  repairDryRun: ['repair({ dryRun: true })', '"holdfast repair --dry-run"'],
  repairNewer: ["repair({ rolledBack: 'newer' })", '"holdfast repair --rolled-back newer"'],
  repairOlder: ["repair({ rolledBack: 'older' })", '"holdfast repair --rolled-back older"'],
  repairUnreadable: ["repair({ unreadable: 'lost' })", '"holdfast repair --unreadable lost"'],
  repairJournal: ["repair({ journal: 'skip' })", '"holdfast repair --journal skip"'],
  repairAndDrop: ['repair without mayDrop: false', '"holdfast repair --drop-incomplete"'],
  verify: ['verify()', '"holdfast verify"'],
  copy: ['copy()', '"holdfast copy"'],
  listQuarantine: ['list()', '"holdfast quarantine"'],
  append: ["{ onto: 'append' }", '--append'],
  followLinks: ['follow it with followLinks', 'save what it leads to as a source of its own'],
  filesDir: ['open it with a filesDir', 'give --files-dir'],
  exclude: ['leave it out with exclude', 'save the other files one by one'],
  raiseLockWait: ['raise lockWaitMs', 'give a longer --lock-wait'],
  openReadOnly: ['open the store with readOnly: true', 'use verbs that only read'],
  openedReadOnly: ['can be opened with readOnly: true', 'can be read'],
  // The command line says whose room it is, and how much is free.
  freeSpace: ['. Free space (or inodes) on that file system; what was there before is unchanged', ''],
  freeQuota: ['. Free space within the quota; what was there before is unchanged', ''],
  // What only a program can do.
  loadFallback: ['load({ fallback: true })', 'a program that loads with a fallback'],
  withSetAside: [' with setAside()', ''],
  startJournalOver: ['openJournal({ startOver: true })', 'a program that starts the journal over'],
  discardEntries: ['or give { discard: true }', 'which only the program that has the journal can do'],
  replay: ['Open the journal and replay them (openEngine does)', 'A start of its program replays them'],
  damagedBlobs: ['see damagedBlobs', 'their damaged blobs are named above'],
} as const satisfies Record<string, readonly [program: string, commandLine: string]>

let column: 0 | 1 = 0

/** The term, for a message that is being made. */
export function term(name: keyof typeof TERMS): string {
  return TERMS[name][column]
}

/** From now on, messages speak to somebody at a command line. For the program `holdfast` alone, when it starts. */
export function speakToCommandLine(): void {
  column = 1
}
