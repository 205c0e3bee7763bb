import { join } from 'node:path'
import { directoryStorage } from '../src/storage/directory/storage.ts'
import { storeOver } from '../test/support/store-over.ts'
import { countingDisk } from '../test/support/watched-disk.ts'
import { overwrite, vectors } from './data.ts'
import type { Context } from './group.ts'
import { MIB } from './measure.ts'
import type { CountRow, GroupResult } from './result.ts'

/** What is asked of the disk. The same on every machine; `test/performance` holds it there. */
export async function counts(context: Context): Promise<GroupResult> {
  const { fs, take } = countingDisk()
  const path = join(context.scratch, 'counts')
  const open = () => storeOver(directoryStorage({ fs, path, readOnly: false, lock: 'os' }), fs)
  const rows: CountRow[] = []
  async function note(operation: string, work: () => Promise<unknown>): Promise<void> {
    take()
    await work()
    rows.push({ operation, ...take() })
  }

  const data = vectors(64 * MIB)
  const store = open()
  await note('first persist of 64 MiB, the store is made', () => store.persist({ blobs: { data } }))
  await note('the same again, unchanged', () => store.persist({ blobs: { data } }))
  overwrite(data, 0.01, 'run')
  await note('1 % changed in one run', () => store.persist({ blobs: { data } }))
  overwrite(data, 0.01, 'scattered')
  await note('1 % changed all over', () => store.persist({ blobs: { data } }))
  await note('metadata of 10 KiB only', () => store.persist({ blobs: { metadata: vectors(10_240, 5) } }))
  await store.close()
  await note('load of 64 MiB from a store just opened', async () => {
    const reader = open()
    const snapshot = await reader.load({ at: 4 - 1 })
    await snapshot!.blob('data').bytes()
    await snapshot!.dispose()
    await reader.close()
  })
  return { counts: rows }
}
