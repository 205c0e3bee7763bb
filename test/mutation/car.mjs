// biome-ignore-all lint/suspicious/noTemplateCurlyInString: these are pieces of source

// What an import checks and what an export promises: as in `durability.mjs`, each with the tests that catch its
// absence.

const hostile = ['test/car/hostile.test.ts']
const roundTrip = ['test/car/round-trip.test.ts']

/** @type {import('./durability.mjs').Mutation[]} */
export const car = [
  {
    file: 'src/car/read-car.ts',
    find: 'if (!isBlock(bytes, wanted)) throw',
    replace: 'if (bytes.length > 2 ** 30) throw',
    why: 'a block has the bytes of its CID',
    tests: hostile,
  },
  {
    file: 'src/car/read-car.ts',
    find: 'if (!sameBlock(id, wanted)) {',
    replace: 'if (id.digest.length === 0) {',
    why: 'the next block is the one that the walk asks for',
    tests: hostile,
  },
  {
    file: 'src/car/read-car.ts',
    find: 'if (roots.length !== 1) throw',
    replace: 'if (roots.length === 0) throw',
    why: 'a file has one root',
    tests: hostile,
  },
  {
    file: 'src/car/read-car.ts',
    find: 'if (root.codec !== CODEC_DAG_CBOR) throw',
    replace: 'if (root.digest.length === 0) throw',
    why: 'the root is a manifest',
    tests: hostile,
  },
  {
    file: 'src/car/read-car.ts',
    find: 'if (bytes > limit) throw',
    replace: 'if (bytes < 0) throw',
    why: 'a length in the file is no reason to take memory',
    tests: hostile,
  },
  {
    file: 'src/car/read-car.ts',
    find: 'reader.limitTo(HEADER_BYTES_MAX)',
    replace: 'reader.limitTo(BLOCK_BYTES_MAX)',
    why: 'a header is small before it is decoded',
    tests: hostile,
  },
  {
    file: 'src/car/read-car.ts',
    find: 'if (length !== null && blockLength !== length) {',
    replace: 'if (length === -1) {',
    why: 'a chunk is as long as its parent says',
    tests: hostile,
  },
  {
    file: 'src/car/import.ts',
    find: '    await car.end()\n',
    replace: '',
    why: 'nothing follows the last block',
    tests: hostile,
  },
  {
    file: 'src/car/import.ts',
    find: 'if (!agree) throw',
    replace: 'if (entry.size < 0) throw',
    why: 'segments are those of the chunks before HEAD names them',
    tests: hostile,
  },
  {
    file: 'src/car/import.ts',
    find: '|| (await isMostlyRepeats(source, entry, context))) continue',
    replace: ') continue',
    why: 'a few blocks that stand for terabytes are not read in full',
    tests: hostile,
  },
  {
    file: 'src/persist/commit.ts',
    find: 'const stored = seal().then(() => request.checkStored?.(head, namesOf(written)))',
    replace: 'const stored = seal()',
    why: 'what an import stored is checked before HEAD names it',
    tests: hostile,
  },
  {
    file: 'src/blocks/walk-snapshot.ts',
    find: 'if (!linked.add(digest, 0, 0)) throw',
    replace: 'if (!linked.add(digest, 0, 0) && digest.length === 0) throw',
    why: 'no block is two things',
    tests: hostile,
  },
  {
    file: 'src/blocks/walk-snapshot.ts',
    find: '} else if (chunks.get(digests, at) !== length) {',
    replace: '} else if (length < 0) {',
    why: 'a chunk has one length',
    tests: hostile,
  },
  {
    file: 'src/blocks/walk-snapshot.ts',
    find: 'else if (known !== size) throw',
    replace: 'else if (size < 0) throw',
    why: 'segments are those of one size',
    tests: hostile,
  },
  {
    file: 'src/blocks/blob-dag.ts',
    find: "if (root.children < 2) throw disagrees(damageContext, 'its root has a single child')",
    replace: '',
    why: 'a root has two children or more, also one that was met before as a part of another blob',
    tests: ['test/car/hostile.test.ts', 'test/blocks'],
  },
  {
    file: 'src/car/export.ts',
    find: 'stopped.abort(',
    replace: 'void (',
    why: 'an export that nobody reads any more stops',
    tests: roundTrip,
  },
]
