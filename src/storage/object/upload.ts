// Uploads one pack: a single PUT when it is small, else in parts that are sent while the rest is made. Its key is new and random, so that a
// request that lands late or twice can only bring the same bytes.

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
  let buffered: Uint8Array[] = []
  let bufferedBytes = 0
  let bytes = 0
  let footer = new Uint8Array(0)
  let upload: string | null = null
  let failure: { error: unknown } | null = null
  let ended = false

  async function write(views: readonly Uint8Array[], position: number): Promise<void> {
    if (position !== bytes) throw new Error(`bug: a pack is written at ${position}, and has ${bytes} bytes`)
    for (const view of views) {
      if (view.length === 0) continue
      // `slice` of a Buffer does not copy.
      const copy = new Uint8Array(view)
      buffered.push(copy)
      bufferedBytes += copy.length
      bytes += copy.length
      footer = lastBytes(footer, copy)
    }
    while (bufferedBytes >= partBytes) await send(take(partBytes))
  }

  /** Starts to upload the next part. Waits while too many are under way. */
  async function send(part: Uint8Array): Promise<void> {
    upload ??= await attemptRequest(client.location, `uploading ${path}`, () => client.startUpload(path))
    const id = upload
    while (inFlight.size >= PARTS_IN_FLIGHT) await Promise.race(inFlight)
    if (failure !== null) throw failure.error
    const number = parts.length + 1
    const slot = { number, etag: '' }
    parts.push(slot)
    const sending = attemptRequest(client.location, `uploading ${path}`, () =>
      client.uploadPart(path, id, number, part),
    ).then(
      ({ etag }) => {
        slot.etag = etag
      },
      (error: unknown) => {
        failure ??= { error }
      },
    )
    inFlight.add(sending)
    void sending.then(() => inFlight.delete(sending))
  }

  function take(length: number): Uint8Array {
    const part = new Uint8Array(length)
    let at = 0
    while (at < length) {
      const first = buffered[0]!
      const used = first.subarray(0, length - at)
      part.set(used, at)
      at += used.length
      if (used.length === first.length) buffered.shift()
      else buffered[0] = first.subarray(used.length)
    }
    bufferedBytes -= length
    return part
  }

  async function commit(name: string): Promise<void> {
    if (upload === null) {
      const whole = take(bufferedBytes)
      await attemptRequest(client.location, `writing ${path}`, () => client.put(path, whole))
    } else {
      if (bufferedBytes > 0) await send(take(bufferedBytes))
      await Promise.all(inFlight)
      if (failure !== null) throw failure.error
      await complete(upload)
    }
    ended = true
    done(name, { key, bytes, blocks: -1 })
  }

  /** An answer that does not come, or one that says that there is no such upload, may follow a completion: what is there decides. */
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
      buffered = []
      bufferedBytes = 0
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
