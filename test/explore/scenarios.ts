import { isHoldfastError } from '../../src/errors.ts'
import { fixed } from '../../src/format/chunking.ts'
import { parseHead } from '../../src/format/head.ts'
import { writeFully } from '../../src/fs/io.ts'
import { directoryStorage } from '../../src/storage/directory/storage.ts'
import { createDisk, type Fault, type Process } from '../faulty-disk/disk.ts'
import { contentOf as bytesAt, type DirectoryImage, filesBelow } from '../faulty-disk/image.ts'
import type { RenameModel } from '../faulty-disk/names.ts'
import { storeOver } from '../support/store-over.ts'
import type { Context, Scenario } from './explore.ts'
import { contentOf, openOn, persistOf, STORE } from './model.ts'

/**
 * Every operation that changes a store, but for those of `scenarios-files.ts`. Whatever comes later belongs here or
 * there.
 */

function persist(label: string, options: object = {}): (context: Context) => Promise<void> {
  return async ({ store }) => void (await store.persist({ ...persistOf(label), ...options }))
}

export function persisted(...labels: string[]): (context: Context) => Promise<void> {
  return async (context) => {
    for (const label of labels) await persist(label)(context)
  }
}

export async function writeFile(process: Process, path: string, bytes: Uint8Array): Promise<void> {
  const file = await process.fs.open(path, 'create')
  try {
    await writeFully(file, [bytes], 0)
  } finally {
    await file.close()
  }
}

/** The same snapshot as `persistOf` gives, from a file and from an engine that saves into a path. */
async function persistFromPaths({ store, process }: Context, label: string): Promise<void> {
  const { index } = contentOf(label)
  await store.persist({
    blobs: {
      index: { source: (path) => writeFile(process, path, index!), chunking: fixed(512) },
      docs: { file: '/docs.bin', chunking: fixed(512) },
    },
    metadata: { label },
  })
}

/** Of the one before there is never a part. */
function assertPreviousWhole(image: DirectoryImage): void {
  parseHead(bytesAt(image, `${STORE}/HEAD.prev.json`), 'HEAD.prev.json')
}

export const persists: Scenario[] = [
  { name: 'the first persist, which makes the store', steps: [persist('a/1')] },
  {
    name: 'a small change',
    prepare: persisted('a/1', 'a/2'),
    steps: [persist('a/3')],
    alsoCheck: assertPreviousWhole,
  },
  {
    name: 'the same content again',
    prepare: persisted('a/1'),
    steps: [persist('a/2'), persist('a/2'), persist('a/2', { watermark: 1 })],
  },
  {
    name: 'blobs from a file and from an engine that saves into a path',
    prepare: async (context) => {
      await persisted('a/1')(context)
      await writeFile(context.process, '/docs.bin', contentOf('paths/2').docs!)
    },
    steps: [(context) => persistFromPaths(context, 'paths/2')],
  },
  {
    name: 'several packs at once',
    prepare: persisted('a/1'),
    steps: [persist('large/1')],
    store: { packBytesMax: 1024 * 1024 },
    limit: 5,
    nested: 0,
  },
]

/** Whatever HEAD.prev.json needs is there, if it is: it is what a load goes on from when HEAD.json is lost. */
function assertPreviousComplete(image: DirectoryImage): void {
  const files = new Set(filesBelow(image, STORE))
  if (!files.has('HEAD.prev.json')) return
  const { head } = parseHead(bytesAt(image, `${STORE}/HEAD.prev.json`), 'HEAD.prev.json')
  for (const { name } of head.packs) {
    if (!files.has(`packs/${name}.pack`)) throw new Error(`HEAD.prev.json needs pack ${name}, which is gone`)
  }
}

/** The disk has no room for another HEAD, until something is deleted. */
async function gcOnFullDisk({ disk, store }: Context): Promise<void> {
  let isFull = true
  disk.onCall = ({ name, path }) => {
    if (name === 'unlink' && path.endsWith('/HEAD.prev.json')) isFull = false
    return isFull && name === 'write' ? { error: 'ENOSPC' } : undefined
  }
  await store.gc()
  disk.onCall = null
  if (isFull) throw new Error('gc found room')
}

export const histories: Scenario[] = [
  {
    name: 'tag, move the tag, untag',
    prepare: persisted('a/1', 'a/2'),
    steps: [
      async ({ store }) => void (await store.tag('best', { at: 1 })),
      async ({ store }) => void (await store.tag('best')),
      async ({ store }) => void (await store.untag('best')),
    ],
  },
  {
    name: 'rollback, and a persist after it',
    prepare: persisted('a/1', 'b/1', 'c/1'),
    steps: [async ({ store }) => void (await store.rollback(1)), persist('d/1')],
  },
  {
    name: 'retention, with packs that are retired and then deleted',
    prepare: persisted('a/1', 'b/1'),
    steps: [persist('c/1'), persist('d/1'), persist('e/1')],
    store: { keepLast: 1 },
  },
  {
    name: 'small packs are folded, and the folded ones deleted',
    prepare: persisted('a/1', 'b/1', 'c/1', 'd/1', 'e/1', 'f/1', 'g/1'),
    steps: [persist('a/2'), persist('b/2'), persist('c/2')],
    store: { keepLast: 4 },
  },
  {
    name: 'snapshots are forgotten, and gc rewrites the packs that are left half empty',
    prepare: persisted('a/1', 'a/2', 'b/1', 'a/3'),
    steps: [
      async ({ store }) => void (await store.forget([1, 3])),
      async ({ store }) => void (await store.gc({ budgetBytes: 0 })),
      async ({ store }) => void (await store.gc({ complete: true })),
      persist('a/1'),
    ],
    store: { keepLast: 20 },
  },
]

/** It makes errors of its own, so no others can be put into it. */
export const fullDisk: Scenario[] = [
  {
    name: 'gc on a full disk goes on without HEAD.prev.json',
    // Nothing of the first is in the second.
    prepare: persisted('a/1', 'b/2'),
    steps: [gcOnFullDisk, persist('c/3')],
    alsoCheck: assertPreviousComplete,
    store: { keepLast: 1 },
  },
]

/** HEAD is replaced, but its directory's fsync fails: whether that is durable nobody knows. */
function persistUnknown(label: string, fault: Fault): (context: Context) => Promise<void> {
  return async ({ disk, store }) => {
    let copied = false
    let replaced = false
    disk.onCall = ({ name, path }) => {
      if (name === 'rename' && path.endsWith('/HEAD.prev.json')) copied = true
      if (name === 'rename' && path.endsWith('/HEAD.json')) replaced = copied
      return replaced && name === 'syncDirectory' && path === STORE ? fault : undefined
    }
    const error = await store.persist(persistOf(label)).then(
      () => null,
      (thrown: unknown) => thrown,
    )
    disk.onCall = null
    if (!isHoldfastError(error, 'COMMIT_UNKNOWN')) throw new Error('the commit is known', { cause: error })
  }
}

function inTurn(...steps: ((context: Context) => Promise<void>)[]): (context: Context) => Promise<void> {
  return async (context) => {
    for (const step of steps) await step(context)
  }
}

const lost: Fault = { error: 'EIO', lose: true }

export const unknowns: Scenario[] = [
  {
    name: 'a small change, where no file can have two names',
    prepare: persisted('a/1', 'a/2'),
    steps: [
      inTurn(async ({ disk }) => {
        disk.onCall = ({ name }) => (name === 'link' ? { error: 'EPERM' } : undefined)
      }, persist('a/3')),
    ],
    alsoCheck: assertPreviousWhole,
  },
  {
    name: 'a commit that may not be durable, and the same again',
    prepare: persisted('a/1'),
    steps: [inTurn(persistUnknown('a/2', { error: 'EIO' }), persist('a/2'))],
  },
  {
    name: 'a commit that was forgotten by a failed fsync, and the same again',
    prepare: persisted('a/1'),
    steps: [inTurn(persistUnknown('a/2', lost), persist('a/2'))],
  },
  {
    name: 'a commit that was forgotten by a failed fsync, and another after it',
    prepare: persisted('a/1'),
    steps: [inTurn(persistUnknown('a/2', lost), persist('b/3'))],
    between: ['2 a/2 current\n1 a/1'],
  },
  {
    name: 'two commits in a row that may not be durable',
    prepare: persisted('a/1'),
    steps: [
      inTurn(persistUnknown('a/2', { error: 'ENOSPC' }), persistUnknown('a/3', { error: 'EIO' }), persist('a/4')),
    ],
    between: ['2 a/2 current\n1 a/1', '3 a/3 current\n2 a/2\n1 a/1'],
  },
]

const NO_PACK = '0'.repeat(64)

/** A pack of another store, and a file that is no pack, lie among the packs. */
async function addStrangers({ disk, process, store }: Context): Promise<void> {
  await store.persist(persistOf('a/1'))
  const elsewhere = createDisk()
  await openOn(elsewhere.start()).persist(persistOf('z/1'))
  const [name] = filesBelow(elsewhere.image(), `${STORE}/packs`)
  await writeFile(process, `${STORE}/packs/${name}`, bytesAt(elsewhere.image(), `${STORE}/packs/${name}`))
  await writeFile(process, `${STORE}/packs/${NO_PACK}.pack`, disk.random.bytes(700))
}

function assertStrangersKept(image: DirectoryImage, acknowledged: number, rename: RenameModel): void {
  const aside = filesBelow(image, `${STORE}/quarantine`)
  assertExplained(image, `${STORE}/quarantine`)
  const there = [...filesBelow(image, `${STORE}/packs`), ...aside].some((name) => name.startsWith(NO_PACK))
  // Where a rename may lose both names, only a hard link in between could keep one.
  if (!there && (rename !== 'parts' || acknowledged > 0)) throw new Error('evidence was lost')
  if (acknowledged > 0 && !aside.some((name) => name.startsWith(NO_PACK))) throw new Error('it is not in quarantine')
}

/** Whatever lies in quarantine has a note beside it. */
function assertExplained(image: DirectoryImage, directory: string): void {
  const names = filesBelow(image, directory)
  for (const name of names.filter((each) => !each.endsWith('.json'))) {
    if (!names.includes(`${name}.json`)) throw new Error(`${name} has no note`)
    const note = JSON.parse(Buffer.from(bytesAt(image, `${directory}/${name}.json`)).toString()) as { reason?: string }
    if (note.reason === undefined) throw new Error(`the note of ${name} gives no reason`)
  }
}

/** What writers leave that die at several points of a persist: temps, a work directory, an orphaned pack. */
async function killWriters(context: Context): Promise<void> {
  await context.store.persist(persistOf('a/1'))
  await writeFile(context.process, '/docs.bin', contentOf('dead/1').docs!)
  for (const victim of ['sync', 'syncDirectory', 'close']) {
    const { process, store } = context.other()
    let seen = 0
    context.disk.onCall = ({ name, path, process: by }) => {
      if (by !== process.name || name !== victim || !path.includes(victim === 'syncDirectory' ? 'packs' : 'tmp'))
        return undefined
      if (++seen === 2 || victim === 'syncDirectory') process.kill()
      return undefined
    }
    await persistFromPaths({ ...context, process, store }, 'dead/1').catch(() => undefined)
    context.disk.onCall = null
    if (process.alive) throw new Error(`the writer survived its ${victim}`)
  }
}

/** The files laid out are whole, and those acknowledged are there. */
function assertLaidOut(image: DirectoryImage, expected: readonly Uint8Array[], directory = `${STORE}/files`): void {
  const files = filesBelow(image, directory).filter((name) => !name.endsWith('.lock') && !name.startsWith('.tmp/'))
  for (const name of files) {
    const bytes = bytesAt(image, `${directory}/${name}`)
    const whole = ['a/1', 'b/1'].flatMap((label) => Object.values(contentOf(label)))
    if (!whole.some((each) => Buffer.compare(each, bytes) === 0)) throw new Error(`${name} is no blob`)
  }
  for (const bytes of expected) {
    const there = files.some((name) => Buffer.compare(bytesAt(image, `${directory}/${name}`), bytes) === 0)
    if (!there) throw new Error('a file that was handed out is gone')
  }
}

async function layOut({ store }: Context, name: string): Promise<void> {
  await using snapshot = await store.load()
  await snapshot!.blob(name).file()
}

export const housekeeping: Scenario[] = [
  {
    name: 'packs that belong to nobody go to quarantine',
    prepare: addStrangers,
    steps: [persist('a/2'), persist('a/3')],
    quarantined: 2,
    alsoCheck: assertStrangersKept,
  },
  {
    name: 'what dead writers left is removed',
    prepare: killWriters,
    steps: [persist('a/2')],
  },
  {
    name: 'all blobs laid out by name, beside one that was there',
    async prepare(context) {
      await persisted('a/1')(context)
      await layOut(context, 'docs')
    },
    steps: [async ({ store }) => void (await store.materialize({ blobs: ['index', 'docs'] }))],
    alsoCheck(image, acknowledged) {
      const { index, docs } = contentOf('a/1')
      assertLaidOut(image, acknowledged === 1 ? [index!, docs!] : [docs!])
    },
  },
  {
    name: 'blobs of a store that is only read, laid out elsewhere',
    prepare: persisted('a/1'),
    steps: [
      async ({ process: { fs } }) => {
        const storage = directoryStorage({ fs, path: STORE, readOnly: true, lock: 'os' })
        await storeOver(storage, fs, {}, { readOnly: true, filesDir: '/laid/out' }).materialize()
      },
    ],
    alsoCheck(image, acknowledged) {
      assertLaidOut(image, acknowledged === 1 ? Object.values(contentOf('a/1')) : [], '/laid/out')
    },
  },
  {
    name: 'blobs laid out as files, and removed when nobody needs them',
    prepare: persisted('a/1'),
    steps: [
      (context) => layOut(context, 'index'),
      (context) => layOut(context, 'docs'),
      persist('b/1', { keepLast: 1 }),
    ],
    alsoCheck(image, acknowledged) {
      const { index, docs } = contentOf('a/1')
      // The persist of the last step may be removing them.
      assertLaidOut(image, acknowledged === 1 ? [index!] : acknowledged === 2 ? [] : [])
      void docs
    },
  },
]
