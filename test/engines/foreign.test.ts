// A signal answers whoever waits for an engine, whatever the engine and its adapter do.

import * as Orama from '@orama/orama'
import FlexSearch from 'flexsearch'
import MiniSearch from 'minisearch'
import { describe, expect, test } from 'vitest'
import { type EngineAdapter, persistEngine, restoreEngine } from '../../src/engines/adapter.ts'
import { flexsearch } from '../../src/engines/flexsearch.ts'
import { minisearch } from '../../src/engines/minisearch.ts'
import { orama } from '../../src/engines/orama.ts'
import { plain } from '../../src/engines/plain.ts'
import { memory } from '../../src/index.ts'
import { eventually } from '../support/eventually.ts'

const fields = { fields: ['text'] }
const schema = { schema: { text: 'string' } } as const

async function filledMiniSearch(): Promise<[EngineAdapter<MiniSearch>, MiniSearch]> {
  const engine = new MiniSearch(fields)
  for (let id = 0; id < 100; id++) engine.add({ id, text: `common word${id}` })
  return [minisearch(MiniSearch, fields), engine]
}

async function filledOrama() {
  const engine = Orama.create(schema)
  for (let n = 0; n < 20; n++) await Orama.insert(engine, { text: `common word${n}` })
  return [orama(Orama, schema as never), engine] as const
}

async function filledFlexSearch() {
  const engine = new FlexSearch.Index({})
  for (let n = 0; n < 20; n++) engine.add(n, `common word${n}`)
  return [flexsearch(FlexSearch.Index, {}), engine] as const
}

describe('restoreEngine({ signal })', () => {
  test.each([
    ['MiniSearch', filledMiniSearch],
    ['Orama', filledOrama],
    ['FlexSearch', filledFlexSearch],
  ])('stops a restore of %s', async (_name, filled) => {
    const [adapter, engine] = (await filled()) as unknown as [EngineAdapter<object>, object]
    const store = memory()
    await persistEngine(store, adapter, engine)
    const reason = new Error('enough')
    // Aborted when the adapter has begun: the rest of its reads must not happen.
    const controller = new AbortController()
    const aborting: EngineAdapter<object> = {
      ...adapter,
      restore(saved, context) {
        let reads = 0
        const restoring = adapter.restore(
          {
            ...saved,
            blob(name) {
              reads += 1
              if (reads === 2) controller.abort(reason)
              expect(reads).toBeLessThan(4)
              return saved.blob(name)
            },
          },
          context,
        )
        return restoring
      },
    }
    await expect(restoreEngine(store, aborting, { signal: controller.signal })).rejects.toBe(reason)
    expect(await restoreEngine(store, adapter, { signal: new AbortController().signal })).not.toBeNull()
  })

  test('does not wait for an adapter that hangs, and closes what comes too late', async () => {
    const closed: object[] = []
    let finish = (_engine: object): void => {}
    const adapter = plain<object>({
      name: 'mine',
      save: () => 'state',
      restore: () =>
        new Promise((resolve) => {
          finish = resolve
        }),
      close: (engine) => {
        closed.push(engine)
      },
    })
    const store = memory()
    await persistEngine(store, adapter, {})
    await expect(restoreEngine(store, adapter, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
      name: 'TimeoutError',
    })
    const late = {}
    finish(late)
    await eventually(() => expect(closed).toEqual([late]))
  })
})

test('persistEngine({ signal }) does not wait for a save that hangs, and releases what it captured too late', async () => {
  let finish = (): void => {}
  let released = 0
  const adapter: EngineAdapter<object> = {
    name: 'mine',
    layout: 1,
    options: {},
    save: () =>
      new Promise((resolve) => {
        finish = () =>
          resolve({
            blobs: {},
            release: () => {
              released += 1
            },
          })
      }),
    restore: () => ({}),
  }
  const store = memory()
  await expect(persistEngine(store, adapter, {}, { signal: AbortSignal.timeout(20) })).rejects.toMatchObject({
    name: 'TimeoutError',
  })
  finish()
  await eventually(() => expect(released).toBe(1))
  expect(await store.load()).toBeNull()
})
