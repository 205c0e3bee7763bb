// Uploads one pack: a single PUT when it is small, else in parts that are sent while the rest is made. Its key is new
// and random, so that a request that lands late or twice can only bring the same bytes.

import { FOOTER_BYTES } from '../../format/limits.ts'
import type { PackSink } from '../port.ts'
import { type ObjectClient, ObjectError } from './client.ts'
import { newPackKey, PACKS } from './layout.ts'
import { attemptRequest, backOff, requestFailed } from './retry.ts'

const PART_BYTES = 16 * 1024 * 1024
/** So much memory, in parts, waits for the server. */
const PARTS_IN_FLIGHT = 6
const COMPLETE_TRIES = 8

interface UploadOptions {
  client: ObjectClient
  revision: number
  /** Called when the pack is there. */
  done: (name: string, pack: { key: string; bytes: number; blocks: number }) => void
  partBytes?: number
}

export function createUpload({ client, revision, done, partBytes = PART_BYTES }: UploadOptions): PackSink {
  const key = newPackKey(revision)
  const path = PACKS + key
  const parts: { number: number; etag: string }[] = []
  const inFlight = new Set<Promise<void>>()
  /** What was written and not sent yet. */
  let part = new Uint8Array(0)
  let partFilled = 0
  /** Memory of parts that were sent. */
  const free: Uint8Array<ArrayBuffer>[] = []
  let bytes = 0
  let footer = new Uint8Array(0)
  let upload: string | null = null
  let failure: { error: unknown } | null = null
  let ended = false

  async function write(views: readonly Uint8Array[], position: number): Promise<void> {
    if (position !== bytes) throw new Error(`bug: a pack is written at ${position}, and has ${bytes} bytes`)
    for (const view of views) {
      bytes += view.length
      footer = lastBytes(footer, view)
      for (let at = 0; at < view.length; ) {
        makeRoom(view.length - at)
        const used = view.subarray(at, at + part.length - partFilled)
        part.set(used, partFilled)
        partFilled += used.length
        at += used.length
        if (partFilled === partBytes) await send(take())
      }
    }
  }

  /** A small pack takes as much memory as it has bytes, about. */
  function makeRoom(wanted: number): void {
    if (partFilled < part.length) return
    const size = upload === null ? Math.min(partBytes, Math.max(partFilled + wanted, 2 * part.length)) : partBytes
    const larger = (size === partBytes ? free.pop() : undefined) ?? new Uint8Array(Buffer.allocUnsafeSlow(size).buffer)
    larger.set(part.subarray(0, partFilled))
    part = larger
  }

  function take(): Uint8Array<ArrayBuffer> {
    const taken = part.subarray(0, partFilled)
    part = new Uint8Array(0)
    partFilled = 0
    return taken
  }

  /** Starts to upload the next part. Waits while too many are under way. */
  async function send(sent: Uint8Array<ArrayBuffer>): Promise<void> {
    upload ??= await attemptRequest(client.location, `uploading ${path}`, () => client.startUpload(path))
    const id = upload
    while (inFlight.size >= PARTS_IN_FLIGHT) await Promise.race(inFlight)
    if (failure !== null) throw failure.error
    const number = parts.length + 1
    const slot = { number, etag: '' }
    parts.push(slot)
    let tries = 0
    const sending = attemptRequest(client.location, `uploading ${path}`, () => {
      tries += 1
      return client.uploadPart(path, id, number, sent)
    }).then(
      ({ etag }) => {
        slot.etag = etag
        // A request that had no answer may still be sending it.
        if (tries === 1 && sent.length === partBytes) free.push(sent)
      },
      (error: unknown) => {
        failure ??= { error }
      },
    )
    inFlight.add(sending)
    void sending.then(() => inFlight.delete(sending))
  }

  async function commit(name: string): Promise<void> {
    if (upload === null) {
      const whole = take()
      await attemptRequest(client.location, `writing ${path}`, () => client.put(path, whole))
    } else {
      if (partFilled > 0) await send(take())
      await Promise.all(inFlight)
      if (failure !== null) throw failure.error
      await complete(upload)
    }
    ended = true
    done(name, { key, bytes, blocks: -1 })
  }

  /**
   * An answer that does not come, or one that says that there is no such upload, may follow a completion: what is there
   * decides.
   */
  async function complete(id: string): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await client.completeUpload(path, id, parts)
        return
      } catch (error) {
        if (!(error instanceof ObjectError)) throw error
        if (await isThere()) return
        if (tries >= COMPLETE_TRIES || error.status === 404) {
          throw requestFailed(error, `completing the upload of ${path}`, client.location)
        }
        await backOff(tries)
      }
    }
  }

  async function isThere(): Promise<boolean> {
    const start = bytes - footer.length
    const got = await attemptRequest(client.location, `reading ${path}`, async () => {
      const there = await client.head(path)
      return there?.size === bytes ? await client.get(path, { range: { start, end: bytes } }) : null
    })
    return got?.state === 'found' && Buffer.compare(got.bytes, footer) === 0
  }

  return {
    write,
    commit,
    async discard() {
      take()
      free.length = 0
      // What was completed stays: only a collection deletes, once HEAD has given it up.
      if (ended || upload === null) return
      ended = true
      const id = upload
      await Promise.all(inFlight)
      await client.abortUpload(path, id).catch(() => undefined)
    },
  }
}

/** The end of what was written: a pack's footer, which names it. */
function lastBytes(before: Uint8Array, view: Uint8Array): Uint8Array<ArrayBuffer> {
  const joined = Buffer.concat([before, view.subarray(Math.max(0, view.length - FOOTER_BYTES))])
  return new Uint8Array(joined.subarray(Math.max(0, joined.length - FOOTER_BYTES)))
}
