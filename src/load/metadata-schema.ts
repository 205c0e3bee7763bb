// Checks a snapshot's metadata with the caller's schema: any Standard Schema.

import { HoldfastError } from '../errors.ts'

/**
 * Any schema of the Standard Schema specification, version 1 (https://standardschema.dev): zod, valibot, arktype and
 * others. Typed by structure, so that none of them is a dependency of the types.
 */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly '~standard': {
    readonly version: 1
    readonly vendor: string
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>
    readonly types?: { readonly input: Input; readonly output: Output } | undefined
  }
}

type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly StandardIssue[] }

interface StandardIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

export async function validate<Output>(
  schema: StandardSchema<unknown, Output>,
  value: unknown,
  sequence: number,
): Promise<Output> {
  const result = await schema['~standard'].validate(value)
  if (result.issues === undefined) return result.value
  const issues = result.issues.map(({ message, path }) => ({ path: pathText(path), message }))
  const first = issues[0]
  throw new HoldfastError(
    'SCHEMA_MISMATCH',
    `the metadata of snapshot ${sequence} does not fit the schema: ${first?.path ?? 'metadata'}: ${first?.message ?? 'refused'}` +
      (issues.length > 1 ? ` (and ${issues.length - 1} more)` : ''),
    { details: { sequence, issues } },
  )
}

function pathText(path: StandardIssue['path']): string {
  const keys = (path ?? []).map((part) => (typeof part === 'object' ? part.key : part))
  return ['metadata', ...keys.map(String)].join('.')
}
