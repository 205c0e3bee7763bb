import { createHash } from 'node:crypto'
import {
  type BlobInput,
  content,
  fixed,
  isHoldfastError,
  loadSnapshot,
  openStore,
  type PersistResult,
  persistSnapshot,
  type Snapshot,
  type Store,
} from 'holdfast'

// A user's program, with the types a user writes. It is compiled against the installed package, and bundled.
//   app persist <directory>
//   app load <directory>

/** Large enough that it is cut and hashed in worker threads. */
const large = new Uint8Array(9 * 1024 * 1024)
for (let i = 0, x = 1; i < large.length; i++) {
  x = (Math.imul(x, 1103515245) + 12345) >>> 0
  large[i] = x >>> 16
}

async function persist(directory: string): Promise<PersistResult> {
  const blobs: Record<string, BlobInput> = {
    large,
    small: { source: 'a few words', type: 'text/plain', chunking: fixed(4096) },
  }
  await using store: Store = await openStore(directory, { keepLast: 2 })
  await store.persist({ blobs: { other: 'before' }, chunking: content({ averageBytes: 8192 }) })
  return await persistSnapshot(store, { blobs, metadata: { engine: 'none', keys: 10_412 } })
}

async function load(
  directory: string,
): Promise<{ sequence: number; keys: unknown; isLarge: boolean; small: string } | null> {
  const snapshot: Snapshot<'large' | 'small'> | null = await loadSnapshot(directory, { blobs: ['large', 'small'] })
  if (snapshot === null) return null
  const bytes: Uint8Array<ArrayBuffer> = await snapshot.blob('large').bytes()
  const small = await snapshot.blob('small').text()
  await snapshot.dispose()
  return { sequence: snapshot.sequence, keys: snapshot.metadata.keys, isLarge: sha256(bytes) === sha256(large), small }
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex')
}

async function main(verb: string | undefined, directory: string | undefined): Promise<unknown> {
  try {
    if (verb === 'persist') return await persist(directory!)
    // Twice: a warning that is given once is given once.
    await load(directory!)
    return await load(directory!)
  } catch (error) {
    if (isHoldfastError(error)) return { code: error.code, kind: error.kind }
    throw error
  }
}

void main(process.argv[2], process.argv[3]).then((answer) => console.log(JSON.stringify(answer)))
