import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { HoldfastError } from '../../src/errors.ts'
import {
  errorCode,
  ignoreMissing,
  ioError,
  readFile,
  readFileOrNull,
  readFully,
  statOrNull,
  writeFully,
} from '../../src/fs/io.ts'
import { nodeFileSystem } from '../../src/fs/node.ts'
import type { File } from '../../src/fs/port.ts'
import { scratch } from '../support/scratch.ts'
import { systemError } from '../support/watched-disk.ts'

/** A file in memory that reads and writes at most `step` bytes at once. */
function shortFile(content: Uint8Array, step: number): File {
  return {
    read: async (target: Uint8Array, position: number) => {
      const part = content.subarray(position, position + Math.min(step, target.length))
      target.set(part)
      return part.length
    },
    write: async (views: readonly Uint8Array[], position: number) => {
      const part = Buffer.concat(views).subarray(0, step)
      content.set(part, position)
      return part.length
    },
  } as unknown as File
}

describe('short reads and writes', () => {
  test('are repeated until everything is done, for every step', async () => {
    const bytes = Uint8Array.from({ length: 23 }, (_, index) => index + 1)
    for (let step = 1; step <= 24; step += 1) {
      const target = new Uint8Array(23)
      expect(await readFully(shortFile(bytes, step), target, 0)).toBe(23)
      expect(target).toEqual(bytes)
      const written = new Uint8Array(30)
      const views = [bytes.subarray(0, 5), bytes.subarray(5, 5), bytes.subarray(5, 6), bytes.subarray(6)]
      expect(await writeFully(shortFile(written, step), views, 7)).toBe(23)
      expect(written.subarray(7)).toEqual(bytes)
    }
  })

  test('a read gives less than asked only at the end of the file', async () => {
    expect(await readFully(shortFile(new Uint8Array(10), 3), new Uint8Array(20), 4)).toBe(6)
    expect(await readFully(shortFile(new Uint8Array(10), 3), new Uint8Array(20), 10)).toBe(0)
  })

  test('a write without progress is an error, not a loop', async () => {
    const stuck = shortFile(new Uint8Array(10), 0)
    await expect(writeFully(stuck, [Uint8Array.of(1)], 0)).rejects.toMatchObject({ code: 'IO_FAILED' })
    expect(await writeFully(stuck, [new Uint8Array(0)], 0)).toBe(0)
  })

  test('the views are neither copied nor changed', async () => {
    const seen: ArrayBufferLike[] = []
    const view = new Uint8Array(10)
    const file = {
      write: async (views: readonly Uint8Array[]) => {
        seen.push(...views.map((part) => part.buffer))
        return 4
      },
    } as unknown as File
    const views = [view, view]
    await writeFully(file, views, 0)
    expect(new Set(seen)).toEqual(new Set([view.buffer]))
    expect(views.map((part) => part.length)).toEqual([10, 10])
  })
})

describe('reading small files', () => {
  test('refuses one above the limit', async () => {
    const path = join(scratch(), 'a')
    writeFileSync(path, 'hello')
    expect(Buffer.from(await readFile(nodeFileSystem, path, 5)).toString()).toBe('hello')
    await expect(readFile(nodeFileSystem, path, 4)).rejects.toMatchObject({
      code: 'LIMIT_EXCEEDED',
      details: { path, bytes: 5, maxBytes: 4 },
    })
  })

  test('only "not there" is null: an unreadable disk is an error', async () => {
    const path = join(scratch(), 'a')
    writeFileSync(path, 'x')
    expect(await readFileOrNull(nodeFileSystem, `${path}b`, 5)).toBeNull()
    expect(await statOrNull(nodeFileSystem, join(path, 'below'))).toBeNull()
    expect((await statOrNull(nodeFileSystem, path))?.kind).toBe('file')
    for (const code of ['EIO', 'EACCES', 'EMFILE', 'ESTALE']) {
      const failing = () => Promise.reject(systemError(code))
      const fs = { ...nodeFileSystem, open: failing, stat: failing }
      await expect(readFileOrNull(fs, path, 5)).rejects.toMatchObject({ code })
      await expect(statOrNull(fs, path)).rejects.toMatchObject({ code })
      await expect(ignoreMissing(failing())).rejects.toMatchObject({ code })
    }
  })
})

describe('errors', () => {
  test('of a full disk are NO_SPACE, others IO_FAILED, with the facts and the way out', () => {
    const wrap = (code: string) =>
      ioError(Object.assign(systemError(code, 'write'), { path: '/x/y' }), 'writing a pack') as HoldfastError
    for (const code of ['ENOSPC', 'EDQUOT']) expect(wrap(code)).toMatchObject({ code: 'NO_SPACE' })
    expect(wrap('EIO')).toMatchObject({
      code: 'IO_FAILED',
      details: { code: 'EIO', syscall: 'write', path: '/x/y' },
      cause: { code: 'EIO' },
    })
    expect(wrap('EIO').message).toMatch(/writing a pack \(\/x\/y\).*EIO/)
    expect(wrap('EMFILE').message).toContain('ulimit -n')
    expect(wrap('EACCES').message).toContain('who owns')
    expect(wrap('EROFS').message).toContain('read-only')
  })

  test("that are not the system's pass: HoldfastErrors, abort reasons, mistakes", () => {
    const others = [
      new HoldfastError('STORE_LOCKED', 'x'),
      new DOMException('stop', 'AbortError'),
      Object.assign(new TypeError('x'), { code: 'ERR_INVALID_ARG_TYPE' }),
      'a reason',
      undefined,
    ]
    for (const error of others) expect(ioError(error, 'x')).toBe(error)
    expect(errorCode(systemError('E2BIG'))).toBe('E2BIG')
    expect(others.map(errorCode)).toEqual(others.map(() => undefined))
  })
})
