// `holdfast show`: one snapshot, with its blobs, its metadata and where it stands.

import type { Chunking, Snapshot } from '../../index.ts'
import { dagJson } from '../document.ts'
import { type Line, type Screen, sizeText, table } from '../screen.ts'
import { withSnapshot } from '../session.ts'
import type { Verb } from '../verb.ts'
import { snapshotDocument, snapshotText } from './snapshots.ts'

export const show: Verb = {
  usage: 'show [snapshot]',
  summary: 'show the blobs and the metadata of a snapshot; default: the current one',
  examples: ['show -s ./data/search', 'show tag:v1 -s ./data/search --json'],
  async run(session, [at]) {
    return await withSnapshot(session, at, async (snapshot, store) => {
      const metadata = await dagJson(snapshot.metadata)
      const watermark = snapshot.watermark === undefined ? undefined : await dagJson(snapshot.watermark)
      const blobs = snapshot.names
        .map((name) => snapshot.blob(name))
        .map(({ name, size, cid, type, chunking }) => ({
          name,
          size,
          cid,
          type,
          chunking,
        }))
      return {
        document: {
          store: store.location,
          snapshot: snapshotDocument(snapshot),
          metadata,
          watermark,
          blobs,
        },
        text: (screen) => [
          ...headLines(snapshot),
          ...(watermark === undefined ? [] : [`watermark  ${watermark.text}`]),
          ...(Object.keys(snapshot.metadata).length === 0 ? [] : [`metadata   ${metadata.text}`]),
          '',
          ...blobLines(blobs, screen),
        ],
      }
    })
  },
}

function headLines(snapshot: Snapshot): Line[] {
  const { current, abandoned, tags, message, size, manifest, covers } = snapshot
  const state = current ? ', current' : abandoned ? ', abandoned by a rollback' : ''
  const lines: Line[] = [{ text: `${snapshotText(snapshot)}${state}`, style: 'bold' }]
  if (message !== undefined) lines.push(`message    ${message}`)
  if (tags.length > 0) lines.push(`tags       ${tags.join(' ')}`)
  lines.push(`size       ${sizeText(size)}`, `manifest   ${manifest}`)
  if (covers !== undefined) lines.push(`covers     entries of the journal up to ${covers}`)
  return lines
}

interface BlobLine {
  name: string
  size: number
  type: string | undefined
  chunking: Chunking
}

function blobLines(blobs: readonly BlobLine[], screen: Screen): Line[] {
  if (blobs.length === 0) return ['It has no blobs.']
  return table(
    [
      { title: 'SIZE', align: 'right', rank: 3 },
      { title: 'CHUNKS', rank: 1 },
      { title: 'TYPE', rank: 2 },
      { title: 'BLOB', rank: 4, least: 20 },
    ],
    blobs.map(({ name, size, type, chunking }) => [sizeText(size), chunkingText(chunking), type ?? '', name]),
    screen,
  )
}

function chunkingText(chunking: Chunking): string {
  return chunking.kind === 'fixed' ? `fixed ${sizeText(chunking.size)}` : `content ${sizeText(chunking.average)}`
}
