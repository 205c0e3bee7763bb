// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are pieces of source

// What is taken out, one at a time, to see that some test fails: every fsync, the order of renames, locks, and the
// checks between damage and a wrong byte. `find` must be in the file exactly once. `tests` are tried before those that
// `run.mjs` knows for the file.

/**
 * @typedef {object} Mutation
 * @property {string} file
 * @property {string} find
 * @property {string} replace
 * @property {string} why what goes wrong without it
 * @property {string[]} [tests]
 * @property {boolean} [children] it shows in processes that run from `dist/`, which is built from the mutated sources
 */

/** @type {Mutation[]} */
export const durability = [
  {
    file: 'src/local/files.ts',
    find: 'if (lock) await fs.syncDirectory(directory)\n',
    replace: '\n',
    why: 'after a crash a laid-out file is without the lock by which it is known',
    tests: ['test/explore/crash-cycles.test.ts'],
  },
  {
    file: 'src/storage/directory/own-files.ts',
    find: 'return isStore || size === LOCK_BYTES || (size < LOCK_BYTES && (await beginsWith(fs, path, LOCK_LINE)))',
    replace: 'return isStore || size === 0 || size === LOCK_BYTES',
    why: 'a creation that was killed in the middle of its lock line can be finished',
    tests: ['test/explore/process-death.test.ts'],
  },
  {
    file: 'src/fs/durable.ts',
    find: `    return await withDirectory(fs, dirname(target), (opened) =>
      publish(fs, temp, target, { synced, directory: opened }),
    )`,
    replace: `    await publish(fs, temp, target, { synced, directory: null })
    return await withDirectory(fs, dirname(target), (opened) => syncAfterRename(opened, dirname(target)))`,
    why: 'what is needed after a rename is open before it: for want of a descriptor a write is not in doubt',
    tests: ['test/explore/descriptors.test.ts', 'test/fs/durable.test.ts'],
  },
  {
    file: 'src/fs/durable.ts',
    find: 'if (!synced) await temp.file.sync()',
    replace: '',
    why: 'a file that is renamed before its fsync may keep its name and lose its bytes',
  },
  {
    file: 'src/fs/durable.ts',
    find: `if (!synced) await temp.file.sync()
    await fs.rename(temp.path, target)`,
    replace: `await fs.rename(temp.path, target)
    if (!synced) await temp.file.sync()`,
    why: 'the rename must come after the fsync',
  },
  {
    file: 'src/fs/durable.ts',
    find: 'if (directory !== null) await syncAfterRename(directory, dirname(target))',
    replace: '',
    why: 'without the fsync of its directory an acknowledged name is lost',
  },
  {
    file: 'src/fs/make-directory.ts',
    find: `or may die before.
    await directory.sync()
`,
    replace: `or may die before.
`,
    why: 'a directory that was made and not made durable takes with it what is put into it',
  },
  {
    file: 'src/fs/move-aside.ts',
    find: `await into.sync()
      await fs.rename(from, target)`,
    replace: 'await fs.rename(from, target)',
    why: 'the note that explains a file in quarantine may be lost, and the file not',
  },
  {
    file: 'src/fs/move-aside.ts',
    find: 'await syncAfterRename(into, quarantineDirectory)',
    replace: '',
    why: 'what was moved into quarantine may be under neither name',
  },
  {
    file: 'src/fs/move-aside.ts',
    find: 'await syncAfterRename(outOf, dirname(from))',
    replace: '',
    why: 'what was moved aside may come back',
  },
  {
    file: 'src/fs/move-aside.ts',
    find: `await writeFully(file, [Buffer.from(\`\${text}\\n\`)], 0)
    await file.sync()`,
    replace: 'await writeFully(file, [Buffer.from(`${text}\\n`)], 0)',
    why: 'the note that explains a file in quarantine may be empty',
  },
  {
    file: 'src/fs/write-tree.ts',
    find: 'await syncAfterRename(directory, parent)\n  })',
    replace: '})',
    why: 'a directory of blobs that was written out may be gone',
    tests: ['test/explore/crash-history.test.ts'],
  },
  {
    file: 'src/fs/durable.ts',
    find: `  } catch (error) {
    await temp.discard()
    throw ioError(error, \`writing \${target}\`)`,
    replace: `  } catch (error) {
    throw ioError(error, \`writing \${target}\`)`,
    why: 'a write that fails leaves its temp',
  },
  {
    file: 'src/fs/durable.ts',
    find: '    if (options.write === undefined) await writeFully(temp.file, [options.bytes], 0)',
    replace: '    if (options.write === undefined) await temp.file.write([options.bytes], 0)',
    why: 'a short write is not a whole one',
  },
  {
    file: 'src/fs/io.ts',
    find: 'left = without(left, written)',
    replace: 'left = []',
    why: 'a short write is not a whole one',
  },
  {
    file: 'src/fs/io.ts',
    find: `filled += count
`,
    replace: `filled += count
    break
`,
    why: 'a short read is not the end of the file',
  },
  {
    file: 'src/fs/io.ts',
    find: 'export function isMissing(error: unknown): boolean {',
    replace: `export function isMissing(error: unknown): boolean {
  if (errorCode(error) === 'EIO' || errorCode(error) === 'EACCES') return true`,
    why: 'EIO is not "not found"',
  },
  {
    file: 'src/fs/temps.ts',
    find: "const ours = lockTemp(temp.file, options.lock) !== 'held'",
    replace: 'const ours = true',
    why: 'a temp that is not locked is taken for the leavings of a dead process',
  },
  {
    file: 'src/fs/temps.ts',
    find: 'if (ours && isSameFile(opened, await lstatOrNull(fs, path))) {',
    replace: 'if (ours) {',
    why: 'a reaper may have removed the new temp before it was locked',
  },
  {
    file: 'src/fs/temps.ts',
    find: "if (locked === 'held') return 'in-use'",
    replace: '',
    why: 'a temp that somebody holds is in use',
  },
  {
    file: 'src/fs/temps.ts',
    find: "if (!isSameFile(await file.stat(), await lstatOrNull(fs, path))) return 'gone'",
    replace: '',
    why: 'between open and lock the name may have become that of another file',
  },
  {
    file: 'src/fs/temps.ts',
    find: `      await fs.unlink(path).catch(() => undefined)
      await file.close().catch(() => undefined)`,
    replace: '      await file.close().catch(() => undefined)',
    why: 'a failed write leaves its temp',
  },
  {
    file: 'src/fs/temps.ts',
    find: "await fs.open(path, 'create', options.mode)",
    replace: "await fs.open(path, 'readWrite', options.mode)",
    why: 'a temp is never a file or a link that was there before',
  },
  {
    file: 'src/fs/temps.ts',
    find: `    await removeTree(fs, path + workSuffix)
    await ignoreMissing(fs.unlink(path))`,
    replace: '    await ignoreMissing(fs.unlink(path))',
    why: 'a work directory goes with its temp',
  },
  {
    file: 'src/fs/file-lock.ts',
    find: "if (file.tryLock('exclusive')) return isMarked",
    replace: `file.tryLock('exclusive')
    return isMarked`,
    why: 'two writers at once',
  },
  {
    file: 'src/fs/file-lock.ts',
    find: "if (locked.kind !== 'file') throw notAFile(path)",
    replace: '',
    why: 'a pipe or a device in the place of the lock file is no lock',
    tests: ['test/fs/file-lock.test.ts'],
  },
  {
    file: 'src/fs/turns.ts',
    find: 'owesPause = true',
    replace: '',
    why: 'a process that writes without a pause leaves others their turn',
    tests: ['test/fs/turns.test.ts'],
  },
  {
    file: 'src/fs/file-lock.ts',
    find: 'if (hasWaited) await writeMark(file, 0)',
    replace: '',
    why: 'nothing is said of a waiter that has its turn',
    tests: ['test/fs/turns.test.ts'],
  },
  {
    file: 'src/fs/file-lock.ts',
    find: 'if (await isStill(fs, path, locked)) {',
    replace: 'if (locked) {',
    why: 'a lock on a file that was deleted meanwhile keeps nobody out',
  },
  {
    file: 'src/fs/file-lock.ts',
    find: 'return !released && (await isStill(fs, path, locked))',
    replace: 'return !released',
    why: 'a writer whose lock file was deleted must not commit',
  },
  {
    file: 'src/storage/directory/storage.ts',
    find: `const held = lock
`,
    replace: `const held = lock && !fs
`,
    why: 'two writers at once, in two processes',
    tests: ['test/storage/head.test.ts', 'test/storage', 'test/explore/machines.test.ts'],
  },
  {
    file: 'src/storage/directory/head.ts',
    find: '      await renamePreviousAgain(temp, stat)\n',
    replace: '',
    why: 'a HEAD that is made durable again does not look like one that somebody put back',
    tests: ['test/storage/fsync.test.ts'],
  },
  {
    file: 'src/storage/directory/head.ts',
    find: `      // No power loss keeps the rename of HEAD that follows, and not this one.
      await fs.syncDirectory(root)
`,
    replace: '',
    why: 'HEAD.prev.json is renamed again durably before HEAD is',
    tests: ['test/storage/fsync.test.ts'],
  },
  {
    file: 'src/storage/directory/head.ts',
    find: `    if (stored !== null) await makeHeadDurable(stored)
    await takePrevious()`,
    replace: '    await takePrevious()',
    why: 'a HEAD whose writer died before the fsync is built on, acknowledged, and lost',
  },
  {
    file: 'src/storage/directory/head.ts',
    find: `        await file.sync()
      } finally {
        await file.close()`,
    replace: `      } finally {
        await file.close()`,
    why: 'a HEAD that somebody put there may not be durable',
  },
  {
    file: 'src/storage/directory/head.ts',
    find: `      await fs.syncDirectory(root)
      await makeNameDurable()`,
    replace: '      await makeNameDurable()',
    why: "a dead writer's rename of HEAD may be lost",
  },
  {
    file: 'src/storage/directory/head.ts',
    find: `      await fs.syncDirectory(root)
      await makeNameDurable()`,
    replace: '      await fs.syncDirectory(root)',
    why: 'a store that was moved here may not be here after a power loss',
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'for (let path = root; path !== dirname(path); path = dirname(path)) {',
    replace: 'for (let path = root; path === root; path = dirname(path)) {',
    why: 'a directory above the store may not be durable',
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'if (outcome.uncertain) await renameAgain(current)',
    replace: '',
    why: 'a rename that a failed fsync forgot is not written by the next fsync',
    tests: ['test/explore/crash-persist.test.ts'],
  },
  {
    file: 'src/storage/directory/session.ts',
    find: `await cell.makeNameDurable()
`,
    replace: `
`,
    why: "whoever made the store's directory may have died before its fsync",
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'allSettledThenThrow([temp.file.sync(), copied',
    replace: 'allSettledThenThrow([copied',
    why: 'HEAD is renamed before its bytes are durable',
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'await syncAfterRename(opened, root)',
    replace: 'await Promise.resolve()',
    why: 'a snapshot is acknowledged and not durable',
  },
  {
    file: 'src/storage/directory/head.ts',
    find: "throw commitUnknown(error, at.head, 'was replaced', may)",
    replace: 'void may',
    why: 'a snapshot whose directory could not be fsynced is acknowledged',
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'await publish(fs, copy, at.previous, { synced: true, directory: null })',
    replace: 'await copy.discard()',
    why: 'there is no HEAD before HEAD',
  },
  {
    file: 'src/storage/directory/head.ts',
    find: `    outcome.unknown()
    previous = before`,
    replace: '    previous = before',
    why: 'a commit that is not known to be durable is taken for one that is',
  },
  {
    file: 'src/storage/directory/head.ts',
    find: `    await assertAlone()
`,
    replace: `
`,
    why: 'a commit is acknowledged though another writer was at work',
    tests: ['test/storage/session.test.ts'],
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'if (replacing) await assertNotReplaced(bytes, error)',
    replace: '',
    why: 'a rename that failed and was done all the same is said to have failed',
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'if (same && alone) return',
    replace: 'if (same) return',
    why: 'a writer whose lock file was deleted commits',
    tests: ['test/store/stopped-writer.test.ts'],
    children: true,
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'if (same && alone) return',
    replace: 'if (alone) return',
    why: "a writer overwrites another writer's HEAD",
    tests: ['test/storage/session.test.ts'],
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'if (head.storeId === stored.head.storeId) previous = head',
    replace: 'previous = head',
    why: "another store's HEAD.prev.json decides what is deleted",
    tests: ['test/storage/session.test.ts'],
  },
  {
    file: 'src/storage/directory/pack-sink.ts',
    find: 'await unlessUnsynced(publish(fs, temp, target, { directory }))',
    replace: 'await unlessUnsynced(publish(fs, temp, target, { directory: null }))',
    why: 'a pack that HEAD names is not there after a power loss',
  },
  {
    file: 'src/storage/directory/pack-sink.ts',
    find: 'await unlessUnsynced(publish(fs, temp, target, { directory }))',
    replace: 'await unlessUnsynced(publish(fs, temp, target, { directory, synced: true }))',
    why: 'a pack that HEAD names is torn after a power loss',
  },
  {
    file: 'src/storage/directory/pack-sink.ts',
    find: 'if (early !== null) throw early.error',
    replace: '',
    why: 'the kernel reports a failed write-back once: to the early fsync',
    tests: ['test/storage/pack-sink.test.ts'],
  },
  {
    file: 'src/storage/directory/pack-sink.ts',
    find: 'if (committed !== null) await fs.unlink(committed).catch(() => undefined)',
    replace: '',
    why: 'a failed persist leaves its packs',
    tests: ['test/blocks/pack-writer.test.ts'],
  },
  {
    file: 'src/storage/directory/session.ts',
    find: `    await cell.swap(emptyHead(storeId))
    await writeStoreFile(storeId, created)`,
    replace: `    await writeStoreFile(storeId, created)
    await cell.swap(emptyHead(storeId))`,
    why: 'a creation cut short looks like a store that lost its HEAD',
  },
  {
    file: 'src/storage/directory/session.ts',
    find: 'await reapTemps(fs, at.tmp, { lock, olderThanMs: UNLOCKED_TEMP_AGE_MS, nowMs: clock.nowMs(), entries })',
    replace: '',
    why: 'temps gather with every crash',
    tests: ['test/explore/crash-cycles.test.ts'],
  },
  {
    file: 'src/storage/directory/read-store.ts',
    find: `    const store = await readStoreFile(quickFs)
    const bytes = await whole(readBytes(), at.head, 'HEAD_DAMAGED')`,
    replace: `    const bytes = await whole(readBytes(), at.head, 'HEAD_DAMAGED')
    const store = await readStoreFile(quickFs)`,
    why: 'a reader beside the creator sees a store that lost its HEAD',
    tests: ['test/load/readers.test.ts'],
  },
  {
    file: 'src/storage/directory/read-store.ts',
    find: 'if (!evidence) return null',
    replace: 'if (evidence !== undefined) return null',
    why: 'a store without STORE.json is silently empty',
    tests: ['test/storage/head.test.ts', 'test/storage', 'test/explore/machines.test.ts'],
  },
  {
    file: 'src/storage/directory/read-store.ts',
    find: `    if (bytes === null) {
      throw new HoldfastError(
        'HEAD_MISSING',`,
    replace: `    if (bytes === null) return null
    if (bytes === undefined) {
      throw new HoldfastError(
        'HEAD_MISSING',`,
    why: 'a store without HEAD is silently empty',
    tests: ['test/storage/head.test.ts', 'test/storage', 'test/explore/machines.test.ts'],
  },
  {
    file: 'src/storage/directory/read-store.ts',
    find: 'if (head.storeId !== store.storeId) {',
    replace: 'if (false as boolean) {',
    why: "another store's HEAD is believed",
    tests: ['test/storage/head.test.ts', 'test/storage', 'test/explore/machines.test.ts'],
  },
  {
    file: 'src/storage/directory/storage.ts',
    find: 'if (!isMissing(error)) throw ioError(error, `opening ${path}`)',
    replace: '',
    why: 'a pack that cannot be opened is said to be missing',
    tests: ['test/storage/head.test.ts', 'test/storage', 'test/explore/machines.test.ts'],
  },
  {
    file: 'src/storage/directory/storage.ts',
    find: '!isSameFile(now, stat) || ',
    replace: '',
    why: 'a store directory that was replaced is locked as the one that was there before',
    tests: ['test/storage/session.test.ts'],
  },
  {
    file: 'src/blocks/pack-writer.ts',
    find: `      await committing
`,
    replace: '',
    why: 'files are closed and removed while they are being made durable',
    tests: ['test/blocks/pack-writer.test.ts'],
  },
  {
    file: 'src/persist/commit.ts',
    find: 'if (session.uncertain) {\n    await session',
    replace: '',
    why: '"unchanged" acknowledges a commit that is not known to be durable',
  },
  {
    file: 'src/persist/commit.ts',
    find: "if (!isHoldfastError(error, 'COMMIT_UNKNOWN')) await blocks.writer.discard()",
    replace: 'await blocks.writer.discard()',
    why: 'packs that HEAD may name are deleted',
  },
  {
    file: 'src/persist/commit.ts',
    find: 'Promise.all([stored, assertPacksPresent(ctx, session, head.packs, dedup.needed())])',
    replace: 'Promise.all([stored])',
    why: 'a snapshot is committed that needs a pack which is gone',
    tests: ['test/storage/session.test.ts'],
  },
  {
    file: 'src/persist/commit.ts',
    find: 'damaged: [damaged, ctx.badBlocks.noted], writer })',
    replace: 'damaged: [], writer })',
    why: 'new snapshots build on blocks known to be bad',
    tests: ['test/persist/heal.test.ts', 'test/recovery'],
  },
  {
    file: 'src/history/history.ts',
    find: 'if (planned.change === null && !session.uncertain) return null',
    replace: 'if (planned.change === null) return null',
    why: 'a tag that is there already acknowledges a commit that is not known to be durable',
  },
  {
    file: 'src/history/history.ts',
    find: 'await (await openSnapshot(ctx, stored, target)).dispose()',
    replace: '',
    why: 'a snapshot that cannot be read becomes the current one',
  },
  {
    file: 'src/gc/collect.ts',
    find: '  if (session.stored === null || session.uncertain) return null',
    replace: '  if (session.stored === null) return null',
    why: 'packs are deleted under a HEAD that is not known to be durable',
  },
  {
    file: 'src/gc/collect.ts',
    find: 'if (plan.future.length > 0) {',
    replace: 'if (plan.future.length > 9) {',
    why: 'an old HEAD that was put back goes on as if nothing were missing',
    tests: ['test/recovery/real-files.test.ts'],
  },
  {
    file: 'src/gc/collect.ts',
    find: 'await temps.reap()',
    replace: '',
    why: 'temps gather with every crash',
    tests: ['test/explore/crash-cycles.test.ts'],
  },
  {
    file: 'src/gc/collect.ts',
    find: 'if (laidOut?.temps === true) await ctx.local.files?.reapTemps()',
    replace: '',
    why: 'temps of files laid out gather with every crash',
  },
  {
    file: 'src/gc/plan-sweep.ts',
    find: 'if (named.has(name)) continue',
    replace: '',
    why: 'packs that HEAD names are not garbage',
  },
  {
    file: 'src/gc/plan-sweep.ts',
    find: 'if (retiredBefore.has(name)) plan.delete.push(name)',
    replace: 'plan.delete.push(name)',
    why: 'HEAD.prev.json may still need a pack that was just retired',
  },
  {
    file: 'src/gc/plan-sweep.ts',
    find: 'if (retiredBefore.has(name)) plan.delete.push(name)',
    replace: '{}',
    why: 'retired packs gather',
  },
  {
    file: 'src/gc/plan-sweep.ts',
    find: '(locked && claim.revision === head.revision + 1)',
    replace: 'false',
    why: 'a process that dies in every persist fills the disk',
    tests: ['test/explore/crash-cycles.test.ts', 'test/explore/crash-history.test.ts'],
  },
  {
    file: 'src/gc/plan-sweep.ts',
    find: '} else if (claim.storeId !== head.storeId) {',
    replace: '} else if (claim.storeId === head.storeId && false) {',
    why: "another store's pack is evidence, not garbage",
  },
  {
    file: 'src/history/next-head.ts',
    find: '  for (const { id } of head.packs) if (!neededBefore.has(id)) needed.add(id)\n',
    replace: '',
    why: 'a pack that HEAD is wrong about stays until a repair looks at it',
    tests: ['test/history/next-head.test.ts'],
  },
  {
    file: 'src/history/next-head.ts',
    find: '...dropped.map(({ name, bytes, key }) => ({ name, bytes, revision, ...(key === undefined ? {} : { key }) })),',
    replace: '',
    why: 'a pack goes at once, while HEAD.prev.json needs it',
  },
  {
    file: 'src/history/next-head.ts',
    find: 'sequence: Math.max(head.sequence, ...snapshots.map(({ sequence }) => sequence)),',
    replace: 'sequence: Math.max(0, ...snapshots.map(({ sequence }) => sequence)),',
    why: 'a sequence is never given twice',
  },
  {
    file: 'src/format/json-file.ts',
    find: 'return tail === `${KEY}${checksum}${END}` ? null :',
    replace: 'return tail !== "" ? null :',
    why: 'a damaged HEAD is believed',
    tests: ['test/storage/head.test.ts', 'test/format'],
  },
  {
    file: 'src/format/pack.ts',
    find: "if (!digestsEqual(digest, 0, footer, 24)) throw damaged(where, 'the digest of its header and index differs')",
    replace: '',
    why: 'a damaged pack index is believed',
    tests: ['test/format', 'test/explore/bytes.test.ts'],
  },
  {
    file: 'src/blocks/block-source.ts',
    find: "if (!digestsEqual(blake3(bytes), 0, digest, 0)) throw new BadBlock('the bytes do not match their digest')",
    replace: '',
    why: 'a damaged block is decoded',
    tests: ['test/explore/bytes.test.ts', 'test/explore/faulty-reads.test.ts'],
  },
  {
    file: 'src/blocks/block-source.ts',
    find: 'if (unread !== null) throw unread',
    replace: '',
    why: 'a disk that does not answer is no damage',
    tests: ['test/explore/bytes.test.ts', 'test/explore/faulty-reads.test.ts'],
  },
  {
    file: 'src/load/read-blob.ts',
    find: 'const isGood = segments !== null && digestsEqual(blake3(bytes.subarray(start, end)), 0, segments, digestAt(start))',
    replace: 'const isGood = segments !== null',
    why: 'a wrong byte is handed out',
    tests: ['test/explore/bytes.test.ts', 'test/explore/faulty-reads.test.ts'],
  },
  {
    file: 'src/load/execute-read.ts',
    find: 'const isGood = isWhole && digestsEqual(blake3(bytes.subarray(at, at + length)), 0, run.digests, i * DIGEST_BYTES)',
    replace: 'const isGood = isWhole',
    why: 'a wrong byte of a range is streamed',
    tests: ['test/load/segments.test.ts', 'test/explore/bytes.test.ts', 'test/explore/faulty-reads.test.ts'],
  },
  {
    file: 'src/load/read-blob.ts',
    find: 'const isGood = isSegment ? await hasDigest(target, segments, digestAt(start)) : false',
    replace: 'const isGood = isSegment',
    why: 'a wrong byte of a segment is streamed',
    tests: ['test/load/segments.test.ts'],
  },
  {
    file: 'src/load/read-blob.ts',
    find: 'if (isGood === null) continue',
    replace: '',
    why: 'memory that a dead worker took along is filled again',
    tests: ['test/load/segments.test.ts'],
  },
  {
    file: 'src/blocks/scan-pack.ts',
    find: 'const wrong = (await findWrong({ bytes }, parts, digests))!',
    replace: 'const wrong = new Uint32Array(parts.length + digests.length).subarray(0, 0)',
    why: 'verify reads to find what rots',
    tests: ['test/load/segments.test.ts', 'test/recovery/verify.test.ts'],
  },
  {
    file: 'src/workers/wrong-parts.ts',
    find: 'if (digest[k] === digests[n * DIGEST_BYTES + k]) continue',
    replace: 'if (digest[k] !== undefined) continue',
    why: 'what a worker checks is checked',
    tests: ['test/load/segments.test.ts'],
  },
  {
    file: 'src/blocks/copy-blocks.ts',
    find: 'return block !== null && digestsEqual(blake3(block), 0, index.digest(entry), 0)',
    replace: 'return block !== null',
    why: 'rot is copied into a pack that looks fresh',
    tests: ['test/space/gc.test.ts'],
  },
  {
    file: 'src/load/load.ts',
    find: 'if (!isDamage(damage) && !ahead) throw damage',
    replace: '',
    why: 'a fallback hides a failing disk',
    tests: ['test/load/fallback.test.ts', 'test/load/load.test.ts', 'test/explore/faulty-reads.test.ts'],
  },
  {
    file: 'src/load/load.ts',
    find: 'if (!ahead) await assertStillThere(ctx, stored, damage, limits)',
    replace: '',
    why: 'a snapshot that was dropped while it was opened is no damage',
    tests: ['test/load/readers.test.ts'],
  },
  {
    file: 'src/local/files.ts',
    find: "if (!file.tryLock('exclusive')) return false",
    replace: "file.tryLock('exclusive')",
    why: 'a file that somebody has open is deleted',
    tests: ['test/store/concurrent-files.test.ts'],
    children: true,
  },
  {
    file: 'src/local/files.ts',
    find: 'if (!isSameFile(await file.stat(), await lstatOrNull(fs, path + LOCK_SUFFIX))) return false',
    replace: '',
    why: 'a lock on a lock file that was deleted meanwhile protects nobody',
    tests: ['test/local/files.test.ts'],
  },
  {
    file: 'src/local/files.ts',
    find: "if (file.tryLock('shared') && isSameFile(opened, await lstatOrNull(fs, path))) {",
    replace: "if (file.tryLock('shared')) {",
    why: 'a lock on a lock file that was deleted meanwhile keeps nothing',
    tests: ['test/local/files.test.ts'],
  },
  {
    file: 'src/local/files.ts',
    find: "(there.kind !== 'file' || there.size !== size || !(await verified(path, work.verify)))",
    replace: "(there.kind !== 'file' || there.size !== size)",
    why: 'a file that was tampered with is handed to an engine',
    tests: ['test/load/blob.test.ts', 'test/store/concurrent-files.test.ts'],
    children: true,
  },
  {
    file: 'src/local/files.ts',
    find: 'name.endsWith(LOCK_SUFFIX) ? name.slice(0, -LOCK_SUFFIX.length) : name',
    replace: 'name',
    why: 'lock files gather',
    tests: ['test/local/files.test.ts'],
  },
  {
    file: 'src/fs/durable.ts',
    find: `    await fs.rename(path, away)
    await syncAfterRename(directory, above)`,
    replace: '    await fs.rename(path, away)',
    why: 'half a store may come back under its name',
    tests: ['test/explore/crash-history.test.ts'],
  },
  {
    file: 'src/storage/directory/remove.ts',
    find: 'await removeDoomed(fs, path).catch(() => undefined)',
    replace: '',
    why: 'half a store is left under another name by each crash',
    tests: ['test/explore/crash-history.test.ts'],
  },
  {
    file: 'src/fs/durable.ts',
    find: `    await fs.rename(path, away)
    await syncAfterRename(directory, above)
  })
  return away`,
    replace: `    await directory.sync()
  })
  return away === null ? away : path`,
    why: 'a crash half-way leaves half a store under its name',
    tests: ['test/explore/crash-history.test.ts'],
  },
  {
    file: 'src/fs/put-in-place.ts',
    find: `removeTree(fs, kept + suffix)
      await opened.sync()`,
    replace: 'removeTree(fs, kept + suffix)',
    why: 'a log that was kept before comes back beside another database',
    tests: ['test/explore/put-in-place.test.ts'],
  },
  {
    file: 'src/fs/put-in-place.ts',
    find: "for (const suffix of ['', ...companions]) await removeTree(fs, kept + suffix)",
    replace: '',
    why: 'a log that was kept before lies beside another database',
    tests: ['test/explore/put-in-place.test.ts'],
  },
  {
    file: 'src/fs/put-in-place.ts',
    find: `before its fsync.
    await opened.sync()`,
    replace: 'before its fsync.',
    why: 'a database is without its log after a power loss',
    tests: ['test/explore/put-in-place.test.ts'],
  },
  {
    file: 'src/fs/put-in-place.ts',
    find: 'if (moved) await opened.sync()',
    replace: '',
    why: 'a new database meets the log of the old one after a power loss',
    tests: ['test/explore/put-in-place.test.ts'],
  },
  {
    file: 'src/fs/put-in-place.ts',
    find: `await moveCompanions(opened)
    await fs.rename(fresh, path)`,
    replace: `await fs.rename(fresh, path)
    await moveCompanions(opened)`,
    why: 'a new database meets the log of the old one',
    tests: ['test/explore/put-in-place.test.ts'],
  },
  {
    file: 'src/fs/put-in-place.ts',
    find: `await fs.rename(fresh, path)
    await syncAfterRename(opened, directory)`,
    replace: 'await fs.rename(fresh, path)',
    why: 'a database that was restored is not there after a power loss',
    tests: ['test/explore/put-in-place.test.ts'],
  },
  {
    file: 'src/fs/put-in-place.ts',
    find: '(await hasCompanions()) || ',
    replace: '',
    why: 'a database stays where it is while its log goes',
    tests: ['test/explore/put-in-place.test.ts'],
  },
  {
    file: 'src/fs/put-in-place.ts',
    find: 'if ((await hasCompanions()) || !(await linked(fs, path, kept))) await',
    replace: 'await',
    why: 'a crash leaves no database where there need not be none',
    tests: ['test/explore/put-in-place.test.ts'],
  },
  {
    file: 'src/local/private-directory.ts',
    find: "if (lock.tryLock('exclusive')) await rm",
    replace: 'await rm',
    why: 'the files of a save under way in another process are removed',
    tests: ['test/engines/scratch.test.ts'],
  },
  {
    file: 'src/local/private-directory.ts',
    find: 'reapDirectories(directory).catch(() => undefined)',
    replace: '',
    why: 'files as large as the engine gather with every crash during a save',
    tests: ['test/engines/scratch.test.ts'],
  },
  {
    file: 'src/local/private-directory.ts',
    find: 'mode & 0o777) !== 0o700',
    replace: 'mode & 0o777) === 0',
    why: 'what others can reach into is not followed',
    tests: ['test/engines/scratch.test.ts'],
  },
  {
    file: 'src/storage/directory/session.ts',
    find: `    await cell.swap(next)
    if (store.state`,
    replace: `    if (store.state === 'good') await cell.swap(next)
    else return await cell.swap(next)
    if (store.state`,
    why: 'a repair leaves a store without STORE.json',
    tests: ['test/recovery', 'test/explore/crash-repair.test.ts'],
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'else await attempt(makeNameDurable(), `making ${root} durable`)',
    replace: '',
    why: 'a store that was moved here and repaired may not be here after a power loss',
    tests: ['test/explore/killed.test.ts'],
  },
  {
    file: 'src/storage/directory/head.ts',
    find: `if (stored !== null) await makeHeadDurable(stored)
      else`,
    replace: 'if (stored === null)',
    why: 'a repair keeps a HEAD as the one before that may be lost',
    tests: ['test/explore/killed.test.ts'],
  },
  {
    file: 'src/storage/directory/session.ts',
    find: 'await attempt(fs.syncDirectory(at.packs), `making ${at.packs} durable`)',
    replace: '',
    why: 'a repair names a pack that is not there after a power loss',
    tests: ['test/explore/killed.test.ts'],
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'copied && copy?.file.sync(), ready()])',
    replace: 'copied && copy?.file.sync(), void ready()])',
    why: 'HEAD is renamed while the packs that it names may not be durable',
  },
  {
    file: 'src/fs/durable.ts',
    find: `  try {
    await directory.sync()
  } catch (cause) {`,
    replace: `  try {
    await Promise.resolve()
  } catch (cause) {`,
    why: 'a directory that was opened before the rename is not fsynced after it',
  },
  {
    file: 'src/workers/frames.ts',
    find: "if (digest[k] !== checks[i * CHECK_BYTES + k]) throw new Error('the compressed bytes do not match their check')",
    replace: '',
    why: 'a damaged frame reaches the decompressor',
    tests: ['test/workers/frames.test.ts'],
  },
  {
    file: 'src/storage/directory/head.ts',
    find: 'await allSettledThenThrow([temp.file.sync(), copied && copy?.file.sync(), ready()])',
    replace: 'await allSettledThenThrow([temp.file.sync(), ready()])',
    why: 'where there are no links, the HEAD before is renamed before its bytes are durable',
    tests: ['test/storage/fsync.test.ts', 'test/explore/crash-persist.test.ts'],
  },
  {
    file: 'src/storage/directory/stage-head.ts',
    find: 'if (isSameFile(head.stat, previousStat)) return { copy: null, copied: false }',
    replace: '',
    why: 'a rename between two names of HEAD does nothing, and leaves one of them in tmp/',
    tests: ['test/storage/previous-head.test.ts'],
  },
  {
    file: 'src/storage/directory/head.ts',
    find: '        previousStat = await copy.file.stat()\n',
    replace: '',
    why: 'a new HEAD with the number of a file that is gone is taken for the HEAD before',
    tests: ['test/storage/previous-head.test.ts'],
  },
  {
    file: 'src/fs/temps.ts',
    find: 'if (isSameFile(await lstatOrNull(fs, path), stat)) return temp',
    replace: 'return temp',
    why: 'whatever lies under the name of HEAD becomes the HEAD before',
    tests: ['test/storage/previous-head.test.ts'],
  },
  {
    file: 'src/persist/commit.ts',
    find: 'if (await isReadable(source, digest)) continue',
    replace: 'if (digest !== undefined) continue',
    why: 'a snapshot whose manifest has gone bad is acknowledged once more',
    tests: ['test/store/remembered.test.ts'],
  },
]
