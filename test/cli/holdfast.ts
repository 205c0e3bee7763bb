// Runs the real binary, and holds every JSON document that it writes against the published schema.

import { execFileSync, spawn } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { expect } from 'vitest'
import { API_WORDS } from '../support/api-words.ts'

export const BINARY = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url))

if (!existsSync(BINARY)) throw new Error(`${BINARY} is missing: "npm run build" comes first`)

const schema = JSON.parse(readFileSync(new URL('../../docs/command-line.schema.json', import.meta.url), 'utf8'))
// Readers must take fields that they do not know; here, a field that the schema does not have is a mistake.
const ajv = new Ajv2020({ strict: false })
ajv.addSchema(strict(schema) as object, 'holdfast')

function strict(part: unknown): unknown {
  if (Array.isArray(part)) return part.map(strict)
  if (typeof part !== 'object' || part === null) return part
  const copy = Object.fromEntries(Object.entries(part).map(([name, value]) => [name, strict(value)]))
  return 'properties' in part && !('additionalProperties' in part) ? { ...copy, additionalProperties: false } : copy
}

function assertFits(definition: 'document' | 'failure', text: string): void {
  const isValid = ajv.validate(`holdfast#/$defs/${definition}`, JSON.parse(text))
  expect(isValid, `${ajv.errorsText()}\n${text}`).toBe(true)
}

export interface Ran {
  /** Null when a signal ended it. */
  exit: number | null
  stdout: string
  stderr: string
  /** The document, with --json. */
  // biome-ignore lint/suspicious/noExplicitAny: the schema says what it has.
  document: Record<string, any>
  /** The failure, with --json. */
  // biome-ignore lint/suspicious/noExplicitAny: the schema says what it has.
  failure: Record<string, any>
}

export interface RunOptions {
  input?: string | Uint8Array
  env?: Record<string, string | undefined>
  cwd?: string
  uid?: number
  gid?: number
}

/** Runs `holdfast` with these arguments to its end. */
export async function holdfast(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const { input = '', env, ...rest } = options
  const child = spawn(process.execPath, [BINARY, ...args], {
    ...rest,
    env: { ...process.env, HOLDFAST_STORE: undefined, FORCE_COLOR: undefined, ...env },
    stdio: ['pipe', 'pipe', 'pipe'],
  })
  child.stdin.on('error', () => undefined)
  child.stdin.end(input)
  const [stdout, stderr, exit] = await Promise.all([
    textOf(child.stdout),
    textOf(child.stderr),
    new Promise<number | null>((resolve) => child.on('close', resolve)),
  ])
  return checked(args, { exit, stdout, stderr })
}

/** With --json: one document, or one failure and no document. */
export function checked(args: readonly string[], ran: Pick<Ran, 'exit' | 'stdout' | 'stderr'>): Ran {
  const { exit, stdout, stderr } = ran
  // Whatever a test provokes: people are told what they can type, and not what a program would call.
  expect(messagesOf(args, ran)).not.toMatch(API_WORDS)
  if (!args.includes('--json')) return { ...ran, document: {}, failure: {} }
  if (stdout === '') {
    expect(stderr, `exit code ${exit}, and no word`).not.toBe('')
    assertFits('failure', stderr)
    return { ...ran, document: {}, failure: JSON.parse(stderr) }
  }
  expect(stderr).toBe('')
  assertFits('document', stdout)
  return { ...ran, document: JSON.parse(stdout), failure: {} }
}

/** All that is said to people: without documents' names of fields, and without blobs. */
function messagesOf(args: readonly string[], { stdout, stderr }: Pick<Ran, 'stdout' | 'stderr'>): string {
  if (args.includes('--help') || args.includes('help') || args.includes('cat')) return ''
  if (!args.includes('--json')) return stdout + stderr
  const said: string[] = []
  JSON.parse(stdout === '' ? stderr : stdout, (name, value) => {
    if (['message', 'advice', 'detail', 'next'].includes(name) && typeof value === 'string') said.push(value)
    return value
  })
  return said.join('\n')
}

/** Runs it, and expects that it ends well. */
export async function done(args: readonly string[], options: RunOptions = {}): Promise<Ran> {
  const ran = await holdfast(args, options)
  expect(ran.exit, `${args.join(' ')}\n${ran.stdout}${ran.stderr}`).toBe(0)
  return ran
}

async function textOf(stream: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const part of stream) parts.push(part)
  return Buffer.concat(parts).toString('utf8')
}

/** The binary by way of a shell: `$0` is Node and `$1` the binary. */
export function shell(script: string, env: Record<string, string> = {}): string {
  return execFileSync('sh', ['-c', script, process.execPath, BINARY], {
    encoding: 'utf8',
    env: { ...process.env, ...env },
  })
}
