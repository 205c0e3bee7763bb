// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are pieces of source

// The rules of the journal, as in `durability.mjs`, each with the tests that catch its absence.

const crashes = ['test/explore/journal-crash.test.ts']
const table = ['test/journal/plan-recovery.test.ts', 'test/explore/journal-bytes.test.ts']

/** @type {import('./durability.mjs').Mutation[]} */
export const journal = [
  {
    file: 'src/journal/scan.ts',
    find: 'if (end > size || (expected !== null && !follows(header, expected))) return flaw',
    replace: 'if (end > size) return flaw',
    why: 'a frame of a journal follows on the one before it',
    tests: ['test/journal/scan.test.ts'],
  },
  {
    file: 'src/journal/frame.ts',
    find: 'if (toHex(bytes.subarray(80, 96)) !== id) return null',
    replace: '',
    why: 'a frame of another segment is none of this one',
    tests: ['test/journal/segment.test.ts', ...table],
  },
  {
    file: 'src/journal/frame.ts',
    find: 'return header.offset !== offset || wrongFrame(header) !== null ? null : header',
    replace: 'return wrongFrame(header) !== null ? null : header',
    why: 'a frame that stands elsewhere in its segment is none here',
    tests: ['test/journal/segment.test.ts', ...table],
  },
  {
    file: 'src/journal/frame.ts',
    find: 'if (!isZero(bytes.subarray(payloadEnd + DIGEST_BYTES, size))) return null',
    replace: '',
    why: 'what lies between frames is zeros',
    tests: ['test/journal/segment.test.ts'],
  },
  {
    file: 'src/journal/plan-recovery.ts',
    find: 'isFlaw(places[proof]!) ? proof : proof + 1',
    replace: 'places.length >= 0 ? places.findIndex(isFlaw) : 0',
    why: 'a header behind what is bad proves that it was durable',
    tests: table,
  },
  {
    file: 'src/journal/plan-recovery.ts',
    find: "if (flaws.every(({ kind }) => kind === 'zeros')) return null",
    replace: '',
    why: 'zeros to the end of a journal are its clean end',
    tests: table,
  },
  {
    file: 'src/journal/plan-recovery.ts',
    find: 'const frames = framesOf(facts).filter(({ end }) => recorded === null || end <= recorded.end)',
    replace: 'const frames = framesOf(facts)',
    why: 'what is behind the end that a successor recorded is void, also when it looks good',
    tests: table,
  },
  {
    file: 'src/journal/plan-recovery.ts',
    find: 'if (header !== null && flawed.length === 0 && !isWhole) damage.push(durableDamage(facts.name, end))',
    replace: '',
    why: 'a segment that was cut below its recorded end is damaged',
    tests: table,
  },
  {
    file: 'src/journal/plan-recovery.ts',
    find: 'if (isHere ? tail.end < seen.offset : seen.segment.number > tail.name.number) {',
    replace: 'if (seen.offset < 0) {',
    why: 'a journal that ends before what HEAD has seen is damaged',
    tests: table,
  },
  {
    file: 'src/journal/plan-recovery.ts',
    find: "if (unreadable !== null) return { state: 'unreadable', ...unreadable }",
    replace: '',
    why: 'what cannot be read now is neither torn nor damaged',
    tests: table,
  },
  {
    file: 'src/journal/plan-recovery.ts',
    find: "if (stray !== undefined) return { state: 'rolledBack', segment: stray.name }",
    replace: '',
    why: 'a segment that a later HEAD named is no garbage',
    tests: table,
  },
  {
    file: 'src/journal/plan-recovery.ts',
    find: 'const unnamed = links.segments.find((other) => isNextOf(other, facts.name) && hasOwnFrames(other))',
    replace: 'const unnamed = links.segments.find((other) => other === null)',
    why: 'a frame in the next segment proves the frame that names it',
    tests: table,
  },
  {
    file: 'src/journal/segment-writer.ts',
    find: 'await Promise.allSettled([file.dataSync(), beside()])',
    replace: 'await Promise.allSettled([undefined, beside()])',
    why: 'an entry is durable before it is acknowledged',
    tests: crashes,
  },
  {
    file: 'src/journal/segment-writer.ts',
    find: `await file.sync()
    await fs.syncDirectory(directory)`,
    replace: 'await fs.syncDirectory(directory)',
    why: 'a segment is durable before it is named',
    tests: crashes,
  },
  {
    file: 'src/journal/segment-writer.ts',
    find: `await file.sync()
    await fs.syncDirectory(directory)`,
    replace: 'await file.sync()',
    why: 'the name of a segment is durable before HEAD or a next frame leads to it',
    tests: crashes,
  },
  {
    file: 'src/journal/segment-writer.ts',
    find: "if (synced.status === 'rejected') throw synced.reason",
    replace: '',
    why: 'nothing is acknowledged whose fdatasync failed',
    tests: ['test/journal/journal.test.ts'],
  },
  {
    file: 'src/journal/appender.ts',
    find: `      await name(made.name)
`,
    replace: '',
    why: 'HEAD names a segment before a frame in it counts',
    tests: crashes,
  },
  {
    file: 'src/journal/appender.ts',
    find: 'await old.write((at) => encodeNext(at, next.name), 0, assertHeld)',
    replace: '',
    why: 'a next frame is durable before there is a frame in the segment that it names',
    tests: crashes,
  },
  {
    file: 'src/journal/appender.ts',
    find: 'await current.write((at) => batch.encode(at), batch.count, assertHeld)',
    replace: 'await current.write((at) => batch.encode(at), batch.count)',
    why: 'an owner whose lock file was replaced acknowledges nothing',
    tests: ['test/journal/journal.test.ts'],
  },
  {
    file: 'src/journal/appender.ts',
    find: `    if (failed !== null) throw failedError(failed)
  }

  function append`,
    replace: `  }

  function append`,
    why: 'after a failure nothing more is written to a segment',
    tests: ['test/journal/journal.test.ts'],
  },
  {
    file: 'src/journal/plan-start.ts',
    find: "if (kind !== 'entries') return",
    replace: "if (kind !== 'next' || kind) return",
    why: 'the last frame is written again before its entries are served: nothing proves it',
    tests: crashes,
  },
  {
    file: 'src/journal/plan-start.ts',
    find: 'const first = Math.max(next, (covered?.sequence ?? 0) + 1)',
    replace: 'const first = next',
    why: 'a sequence that a snapshot covers is never given out again',
    tests: ['test/journal/journal.test.ts'],
  },
  {
    file: 'src/journal/journal.ts',
    find: 'if (plan.damage.length > 0) throw damagedError(directory, plan)',
    replace: '',
    why: 'a journal that lost entries is not taken for a shorter one',
    tests: ['test/journal/journal.test.ts'],
  },
  {
    file: 'src/journal/journal.ts',
    find: 'const lock = await takeLock(place, options)',
    replace: 'const lock = null as FileLock | null',
    why: 'a journal has one owner',
    tests: ['test/journal/journal.test.ts'],
  },
  {
    file: 'src/persist/covers.ts',
    find: 'if (ctx.journal === null || ctx.journal.id !== head.journal.id || covers === undefined) throw coversRequired(ctx)',
    replace: '',
    why: 'in a store with a journal only its owner persists, and says what the snapshot covers',
    tests: ['test/store/journal.test.ts'],
  },
  {
    file: 'src/persist/covers.ts',
    find: 'if (covers < before) {',
    replace: 'if (covers < -1) {',
    why: 'a snapshot never covers less than the one before it',
    tests: ['test/store/journal.test.ts'],
  },
  {
    file: 'src/persist/covers.ts',
    find: 'line[JOURNAL_BACK - 1]?.covers',
    replace: 'line[0]?.covers',
    why: 'falling back to one of the three newest snapshots loses no entry',
    tests: ['test/store/journal.test.ts'],
  },
  {
    file: 'src/persist/commit.ts',
    find: 'if (await raiseCovers(ctx, session, head, current, covers)) return answer',
    replace: '',
    why: 'the same content that covers more entries is recorded, or they are applied twice',
    tests: ['test/store/journal.test.ts'],
  },
  {
    file: 'src/history/covers.ts',
    find: 'if (last > covered && !discard) {',
    replace: 'if (last < 0) {',
    why: 'a rollback does not step over entries that are in no snapshot',
    tests: ['test/store/journal.test.ts'],
  },
  {
    file: 'src/history/covers.ts',
    find: 'skips: from > end ? skips : [...skips, [from, end]]',
    replace: 'skips',
    why: 'entries of a line that was left are not replayed on another',
    tests: ['test/store/journal.test.ts'],
  },
  {
    file: 'src/storage/directory/remove.ts',
    find: 'const journal = await takeLockIfThere(fs, join(root, JOURNAL_LOCK))',
    replace: 'const journal = await takeLockIfThere(fs, join(root, `${JOURNAL_LOCK}.none`))',
    why: 'a store whose journal is open is not taken away',
    tests: ['test/store/journal.test.ts'],
  },
  {
    file: 'src/journal/journal.ts',
    find: 'if (state.head === null) await assertNoFrames(place, names)',
    replace: '',
    why: 'entries are not forgotten when HEAD names no journal',
    tests: ['test/store/journal.test.ts'],
  },
  {
    file: 'src/engines/live.ts',
    find: 'captured = journal.last\n',
    replace: 'captured = journal.last - 1\n',
    why: 'what a snapshot covers is what it holds: otherwise a change is applied twice',
    tests: ['test/engines/live.test.ts'],
  },
  {
    file: 'src/engines/live.ts',
    find: 'live.assertSound()\n',
    replace: '\n',
    why: 'an engine that a failed change has moved is not saved',
    tests: ['test/engines/live.test.ts'],
  },
  {
    file: 'src/engines/live.ts',
    find: 'await appended.durable\n',
    replace: '\n',
    why: 'a change is durable when it is acknowledged',
    tests: ['test/engines/live.test.ts'],
  },
  {
    file: 'src/engines/live.ts',
    find: 'const covers = restored?.snapshot.covers ?? 0\n',
    replace: 'const covers = 0\n',
    why: 'what the snapshot holds is not applied again',
    tests: ['test/engines/live.test.ts'],
  },
  {
    file: 'src/journal/journal.ts',
    find: 'begin.number > head.tail.number ? begin : head.tail',
    replace: 'head.tail',
    why: 'a journal is read from where the snapshot stands, in whatever segment that is',
    tests: ['test/journal/journal.test.ts'],
  },
]
