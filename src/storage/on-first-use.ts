// Loads a storage's code on the first call, so that importing the package loads neither a schema library nor a storage
// that is never opened.

import type { Beside, Capabilities, Storage } from './port.ts'

/** A storage on this machine: one writer at a time, files that stay open, and a quarantine. */
export const LOCAL: Capabilities = { pins: true, alone: true, moves: true, far: false }

/** Nothing keeps writers out, keeps deleted packs readable, or renames. */
export const OBJECTS: Capabilities = { pins: false, alone: false, moves: false, far: true }

/** A storage at `location`. Its code is loaded by the first call. */
export function onFirstUse(location: string, supports: Capabilities, load: () => Promise<Storage>): Storage {
  let loading: Promise<Storage> | null = null
  let loaded: Storage | null = null
  const storage = () => (loading ??= load().then((storage) => (loaded = storage)))
  return {
    location,
    supports,
    uncertain: () => loaded?.uncertain?.() === true,
    readHead: async () => (await storage()).readHead(),
    inspect: async () => (await storage()).inspect(),
    openPack: async (name) => (await storage()).openPack(name),
    beside: {
      quarantine: async () => (await (await storage()).beside?.quarantine()) ?? [],
      async *read(name) {
        yield* (await besideOf(storage())).read(name)
      },
      discard: async (name) => (await besideOf(storage())).discard(name),
      weigh: async (folder, counts) =>
        (await (await storage()).beside?.weigh(folder, counts)) ?? { count: 0, bytes: 0 },
    },
    write: async (options, task) => (await storage()).write(options, task),
  }
}

async function besideOf(storage: Promise<Storage>): Promise<Beside> {
  const { beside } = await storage
  if (beside === undefined) throw new Error('bug: this storage keeps nothing beside its packs')
  return beside
}
