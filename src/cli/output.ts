// Writing to standard output and standard error. A reader that closes its end early (`| head`) is no error; a full disk
// is.

import { Refusal } from './failure.ts'

/** The reader of standard output has gone. What is left of the command ends without a word. */
export class ReaderGone extends Error {
  constructor() {
    super('nobody reads standard output any more')
    this.name = 'ReaderGone'
  }
}

/** Failed writes are told to whoever wrote, by the callback; without a listener they would end the process. */
export function expectOutputErrors(): void {
  process.stdout.on('error', () => undefined)
  process.stderr.on('error', () => undefined)
}

/**
 * Writes to standard output. Resolves when the bytes are handed on, so that memory stays bounded.
 *
 * @throws ReaderGone, IO_FAILED, NO_SPACE
 */
export async function writeOut(bytes: string | Uint8Array): Promise<void> {
  if (bytes.length === 0) return
  const error = await written(process.stdout, bytes)
  if (error === null) return
  const code = (error as NodeJS.ErrnoException).code ?? 'unknown'
  if (code === 'EPIPE') throw new ReaderGone()
  const isFull = code === 'ENOSPC' || code === 'EDQUOT'
  throw new Refusal(
    isFull ? 'NO_SPACE' : 'IO_FAILED',
    'environment',
    `standard output cannot be written: ${error.message}`,
    {
      details: { code, syscall: 'write', path: 'standard output' },
    },
  )
}

/** Writes to standard error. That nobody reads it changes nothing. */
export async function writeError(text: string): Promise<void> {
  if (text !== '') await written(process.stderr, text)
}

function written(stream: NodeJS.WriteStream, bytes: string | Uint8Array): Promise<Error | null> {
  return new Promise((resolve) => {
    stream.write(bytes, (error) => resolve(error ?? null))
  })
}
