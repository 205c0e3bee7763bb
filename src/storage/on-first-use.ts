// Loads a storage's code on the first call: to import the package costs no schema library, and no storage that is never opened.

import type { Storage } from './port.ts'

/** A storage at `location` whose code is loaded by the first call. */
export function onFirstUse(location: string, load: () => Promise<Storage>): Storage {
  let loading: Promise<Storage> | null = null
  const storage = () => (loading ??= load())
  return {
    location,
    readHead: async () => (await storage()).readHead(),
    inspect: async () => (await storage()).inspect(),
    openPack: async (name) => (await storage()).openPack(name),
    write: async (options, task) => (await storage()).write(options, task),
  }
}
