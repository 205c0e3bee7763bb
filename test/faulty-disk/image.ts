import { blake3 } from '../../src/format/blake3.ts'

/** A tree of what lies on a disk, never changed once made. A file that stands in two places has two names. */
export interface DirectoryImage {
  kind: 'directory'
  mode: number
  entries: ReadonlyMap<string, DirectoryImage | FileImage>
}

export interface FileImage {
  kind: 'file'
  mode: number
  content: Uint8Array
  mtimeMs: number
}

/** Equal for trees with the same names, modes and bytes. */
export function keyOf(image: DirectoryImage): string {
  const lines: string[] = []
  for (const [path, node] of walk(image)) {
    lines.push(node.kind === 'file' ? `${path} ${node.mode} ${digestOf(node.content)}` : `${path}/ ${node.mode}`)
  }
  return Buffer.from(blake3(Buffer.from(lines.sort().join('\n')))).toString('base64')
}

/** Every file and directory below the root, with its path. */
export function* walk(image: DirectoryImage, path = ''): Generator<[string, DirectoryImage | FileImage]> {
  for (const [name, node] of image.entries) {
    yield [`${path}/${name}`, node]
    if (node.kind === 'directory') yield* walk(node, `${path}/${name}`)
  }
}

/** Paths of the files below a directory, relative to it, in order; none when it is not there. */
export function filesBelow(image: DirectoryImage, path: string): string[] {
  const prefix = `${path}/`
  return [...walk(image)]
    .filter(([each, { kind }]) => kind === 'file' && each.startsWith(prefix))
    .map(([each]) => each.slice(prefix.length))
    .sort()
}

export function contentOf(image: DirectoryImage, path: string): Uint8Array {
  for (const [each, node] of walk(image)) if (each === path && node.kind === 'file') return node.content
  throw new Error(`no file ${path}`)
}

const digests = new WeakMap<Uint8Array, string>()

function digestOf(content: Uint8Array): string {
  let digest = digests.get(content)
  if (digest === undefined) {
    digest = Buffer.from(blake3(content)).toString('base64')
    digests.set(content, digest)
  }
  return digest
}
