// The four questions of a page, each a section: pictures, sentences, and tables with the same numbers.

import { sizeText, timeText } from '../text.ts'
import { AGES, MAP_COLUMNS } from './chunk-ages.ts'
import { behind, foreign, type Html, html, size, table } from './html.ts'
import { type AgeRow, type BlobRow, type Model, type SnapshotRow, spreadOf } from './model.ts'
import { ageMap, packPicture, type Share, shareBar, timeline } from './pictures.ts'

/** Whether the store is well, in one line. */
export function healthOf({ verified, stats }: Model): { kind: 'good' | 'bad' | 'unknown'; sign: string; text: string } {
  const damaged = stats.snapshots.filter((snapshot) => snapshot.damaged).length
  if (verified !== null && !verified.ok) {
    return { kind: 'bad', sign: '✕', text: `Damaged: ${count(openProblems(verified), 'problem')}` }
  }
  if (damaged > 0)
    return { kind: 'bad', sign: '✕', text: `Damaged: ${count(damaged, 'snapshot')} cannot be read in full` }
  if (stats.uncounted.length > 0)
    return {
      kind: 'bad',
      sign: '✕',
      text: `Not all could be read: ${count(stats.uncounted.length, 'part')} of the store`,
    }
  if (verified === null) return { kind: 'unknown', sign: '?', text: 'Not verified now' }
  return {
    kind: 'good',
    sign: '✓',
    text: verified.level === 'full' ? 'Well: every stored byte verified' : 'Well: every structure verified',
  }
}

function openProblems({ problems }: NonNullable<Model['verified']>): number {
  return problems.count - problems.rows.filter(({ recorded }) => recorded).length
}

/** The four answers, in a sentence each. */
export function summary(model: Model): Html {
  const { stats, diff, blobs } = model
  const health = healthOf(model)
  const older = olderBytes(model)
  const large =
    older === null
      ? html`${size(diskBytes(model))} on disk, of which ${size(stats.liveBytes)} are needed by snapshots.`
      : html`${size(diskBytes(model))} on disk: ${size(model.currentBytes!)} for the current snapshot, ${size(older)} for older ones alone.`
  const changed =
    diff === null
      ? html`There is no older snapshot to compare with.`
      : html`${diff.count} of ${blobs?.count ?? 0} blobs differ from snapshot ${diff.from}; ${size(diff.newBytes)} of their bytes are new.`
  const back = html`${size(stats.garbageBytes + stats.retired.bytes)} that nothing needs, by <code>gc</code>${
    older === null || older === 0 ? null : html`; up to ${size(older)} by forgetting what is older`
  }.`
  return html`<nav class="answers" aria-label="The four questions">
<a href="#large"><h2>Why is it this large?</h2><p>${large}</p></a>
<a href="#changed"><h2>What changed?</h2><p>${changed}</p></a>
<a href="#back"><h2>What would I get back?</h2><p>${back}</p></a>
<a href="#well" class="${health.kind}"><h2>Is it well?</h2><p>${health.text}.</p></a>
</nav>`
}

/** Of everything in the store's directory that is accounted for. */
function diskBytes({ stats: { packBytes, retired, files, images, quarantine, journal } }: Model): number {
  return packBytes + retired.bytes + files.bytes + images.bytes + quarantine.bytes + journal.bytes
}

/** What snapshots other than the current one need, and it does not; null if that is not known. */
function olderBytes({ currentBytes, stats }: Model): number | null {
  return currentBytes === null ? null : stats.liveBytes - currentBytes
}

export function largeSection(model: Model): Html {
  const { stats } = model
  const older = olderBytes(model)
  const needed: (Share & { key?: string })[] =
    older === null
      ? [{ kind: 'needed', title: 'Needed by snapshots', bytes: stats.liveBytes }]
      : [
          { kind: 'needed', title: 'The current snapshot', bytes: model.currentBytes! },
          { kind: 'older', title: 'Older snapshots alone', bytes: older },
        ]
  const shares: (Share & { key?: string })[] = [
    ...needed,
    { kind: 'garbage', title: 'Garbage in packs', bytes: stats.garbageBytes, key: 'garbageBytes' },
    { kind: 'overhead', title: 'Commit records of kept snapshots', bytes: stats.recordBytes, key: 'recordBytes' },
    { kind: 'overhead', title: 'Headers and footers of packs', bytes: stats.overheadBytes, key: 'overheadBytes' },
    {
      kind: 'quarantine',
      title: 'Not counted: it, or what needs it, could not be read',
      bytes: stats.uncountedBytes,
      key: 'uncountedBytes',
    },
    { kind: 'retired', title: 'Retired packs, not yet deleted', bytes: stats.retired.bytes, key: 'retired' },
    { kind: 'files', title: 'Blobs laid out as files', bytes: stats.files.bytes, key: 'files' },
    { kind: 'images', title: 'Images of engines’ files', bytes: stats.images.bytes, key: 'images' },
    { kind: 'journal', title: 'Journal', bytes: stats.journal.bytes, key: 'journal' },
    { kind: 'quarantine', title: 'Quarantine', bytes: stats.quarantine.bytes, key: 'quarantine' },
  ]
  const all = diskBytes(model)
  const rows = shares
    .filter(({ bytes, kind }) => bytes > 0 || kind === 'needed')
    .map(({ kind, title, bytes, key }) => [html`${swatch(kind)}${title}`, size(bytes, key), percent(bytes, all)])
  const totals = [
    ['Needed by snapshots, together', size(stats.liveBytes, 'liveBytes'), percent(stats.liveBytes, all)],
    ['All packs', size(stats.packBytes, 'packBytes'), percent(stats.packBytes, all)],
    [
      html`<strong>Everything</strong>`,
      html`<strong>${size(all)}</strong>`,
      html`<strong>${percent(all, all)}</strong>`,
    ],
  ]
  return section(
    'large',
    'Why is it this large?',
    html`${shareBar(shares)}
${table(
  'What takes the space',
  [{ title: 'What' }, { title: 'Bytes', isNumber: true }, { title: 'Share', isNumber: true }],
  [...rows, ...totals],
)}
<h3 id="timeline-title">Snapshots: what each added, and would free</h3>
<p>Above the line is what no older snapshot has; the bars add up to what is needed. Below it is what no other snapshot has. <strong>Do not add these up</strong>: two
snapshots that share what nobody else has free more together. <code>holdfast forget --dry-run</code> says it for a set.</p>
${
  model.snapshots.length === 0
    ? html`<p>No snapshot is kept.</p>`
    : html`<p class="legend">${swatch('added')}added ${swatch('frees')}would free</p>
<div id="timeline" class="figure">${timeline(model.snapshots)}</div>
<p id="picked" class="picked" hidden></p>
${behind(`Table of ${count(model.snapshots.length, 'snapshot')}`, snapshotTable(model.snapshots), model.snapshots.length <= 12)}`
}`,
  )
}

function snapshotTable(snapshots: readonly SnapshotRow[]): Html {
  return table(
    'Snapshots, newest first',
    [
      { title: 'Snapshot' },
      { title: 'Time' },
      { title: 'State' },
      { title: 'Size', isNumber: true },
      { title: 'Added', isNumber: true },
      { title: 'Would free', isNumber: true },
      { title: 'Tags' },
      { title: 'Message' },
    ],
    [...snapshots]
      .reverse()
      .map(({ sequence, time, state, size: bytes, addedBytes, freesBytes, damaged, tags, message }) => [
        sequence,
        timeText(time),
        damaged ? html`<strong class="bad">damaged: too small</strong>` : state === 'kept' ? null : state,
        size(bytes),
        size(addedBytes, `added-${sequence}`),
        size(freesBytes, `frees-${sequence}`),
        tags.map((tag) => html`<span class="tag">${foreign(tag)}</span> `),
        message === '' ? null : foreign(message),
      ]),
  )
}

export function changedSection(model: Model): Html {
  const { blobs, ages, current } = model
  const maps =
    current === null
      ? null
      : blobs === null
        ? html`<p class="bad">The blobs of the current snapshot cannot be read.</p>`
        : html`<h3>Where the changes are: blobs by the age of their chunks</h3>
<p>Each strip is a blob from its first byte to its last, in ${MAP_COLUMNS} parts. In each part, chunks hang from the top by age: the newest first. A strip whose top is
touched everywhere is of a save that scatters its changes. The age of a chunk is that of the oldest kept snapshot that has it.</p>
${legend(ages)}
${blobs.rows.map((blob) => blobFigure(blob, ages))}
${blobs.count > blobs.rows.length ? html`<p>${blobs.count - blobs.rows.length} smaller blobs are not shown.</p>` : null}`
  return section('changed', 'What changed?', html`${changes(model)}${maps}`)
}

function changes({ diff }: Model): Html {
  if (diff === null) return html`<p>There is no older snapshot to compare with, or it cannot be read.</p>`
  const { from, to, rows, count: all, unchanged, newBytes } = diff
  return html`<p>From snapshot ${from} to ${to}: ${all} blobs differ, ${unchanged} are unchanged, and ${size(newBytes)} are in chunks that snapshot ${from} does not have.</p>
${
  rows.length === 0
    ? null
    : table(
        `Blobs that differ between snapshots ${from} and ${to}${all > rows.length ? `: the ${rows.length} with most new bytes of ${all}` : ''}`,
        [
          { title: 'Blob' },
          { title: 'Change' },
          { title: 'Before', isNumber: true },
          { title: 'Size', isNumber: true },
          { title: 'New', isNumber: true },
        ],
        rows.map(({ name, change, sizeBefore, size: bytes, newBytes: fresh }) => [
          foreign(name),
          change,
          size(sizeBefore),
          size(bytes),
          size(fresh),
        ]),
      )
}`
}

function legend(ages: readonly AgeRow[]): Html {
  return html`<p class="legend" aria-hidden="true">${ages.map((age) => html`${swatch(`age${age.age}`)}${ageText(age)} `)}</p>`
}

function ageText({ age, newest, oldest }: AgeRow): string {
  if (age === 0) return `${newest} (current)`
  return newest === oldest ? String(newest) : `${oldest} to ${newest}`
}

function blobFigure(blob: BlobRow, ages: readonly AgeRow[]): Html {
  const { name, size: bytes, map } = blob
  const heading = html`<h4>${foreign(name)} <span class="of">${size(bytes)}</span></h4>`
  if (map === null) {
    return html`<div class="blob">${heading}<p${bytes === 0 ? null : html` class="bad"`}>${bytes === 0 ? 'It is empty.' : 'It cannot be read.'}</p></div>`
  }
  const [only, ...others] = ages.filter(({ age }) => map.chunks[age]! > 0)
  if (only !== undefined && others.length === 0 && map.chunks[only.age] === 1) {
    return html`<div class="blob">${heading}<p class="said">${swatch(`age${only.age}`)}One chunk, written by snapshot ${ageText(only)}.</p></div>`
  }
  const newest = spreadOf(map, 0)
  const said =
    newest.bytes === 0
      ? 'Nothing in it is new in the current snapshot.'
      : `${sizeText(newest.bytes)} (${percent(newest.bytes, bytes)}) are new in the current snapshot, in ${newest.columns} of its ${MAP_COLUMNS} parts.`
  return html`<div class="blob">${heading}
<div class="figure">${ageMap(blob)}</div>
<p class="said">${said}</p>
${behind('Table', ageTable(blob, ages))}</div>`
}

/** Rows of the table of a map that say where bytes are. */
const TENTHS = 10

function ageTable({ map }: BlobRow, ages: readonly AgeRow[]): Html {
  const perTenth = MAP_COLUMNS / TENTHS
  const inTenth = (tenth: number, age: number): number => {
    let bytes = 0
    for (let column = tenth * perTenth; column < (tenth + 1) * perTenth; column++)
      bytes += map!.columns[column * AGES + age]!
    return Math.round(bytes)
  }
  return table(
    'Bytes of the blob by the snapshots that wrote them',
    [{ title: 'Part' }, ...ages.map((age) => ({ title: ageText(age), isNumber: true }))],
    [
      ['All', ...ages.map(({ age }) => size(spreadOf(map!, age).bytes))],
      ['Chunks', ...ages.map(({ age }) => spreadOf(map!, age).chunks)],
      ...Array.from({ length: TENTHS }, (_, tenth) => [
        `${tenth * 10} to ${(tenth + 1) * 10} %`,
        ...ages.map(({ age }) => sizeText(inTenth(tenth, age))),
      ]),
    ],
  )
}

export function getBackSection(model: Model): Html {
  const { stats, packs } = model
  const older = olderBytes(model)
  const shown = packs.others === null ? packs.rows : [...packs.rows, packs.others]
  return section(
    'back',
    'What would I get back?',
    html`<ul>
<li>${size(stats.garbageBytes)} of packs and ${size(stats.retired.bytes)} of retired packs are needed by nothing. <code>holdfast gc</code> gives back what is worth it, and
<code>holdfast gc --complete</code> all of it.</li>
${older === null ? null : html`<li>${size(older)} are needed by older snapshots and not by the current one: all that <code>holdfast forget</code> can make garbage.</li>`}
<li>${size(stats.files.bytes + stats.images.bytes)} of laid-out files and images are made again when they are needed. ${size(stats.quarantine.bytes)} lie in quarantine until
<code>holdfast quarantine discard</code>.</li>
</ul>
<h3>Packs: needed and garbage</h3>
<p>Each pack is as wide as it is large.</p>
${
  shown.length === 0
    ? html`<p>There are no packs.</p>`
    : html`<p class="legend">${swatch('needed')}needed ${swatch('garbage')}garbage</p>
<div class="figure">${packPicture(shown)}</div>
${behind(
  `Table of ${count(packs.count, 'pack')}`,
  table(
    'Packs, largest first',
    [
      { title: 'Pack' },
      { title: 'Bytes', isNumber: true },
      { title: 'Needed', isNumber: true },
      { title: 'Garbage', isNumber: true },
      { title: 'Garbage share', isNumber: true },
    ],
    shown.map(({ name, bytes, liveBytes, garbageBytes }) => [
      name,
      size(bytes),
      size(liveBytes),
      size(garbageBytes),
      percent(garbageBytes, bytes),
    ]),
  ),
)}`
}`,
  )
}

export function wellSection(model: Model): Html {
  const { verified } = model
  const health = healthOf(model)
  const line = html`<p class="health ${health.kind}"><span aria-hidden="true">${health.sign}</span> ${health.text}.</p>`
  const damaged = model.stats.snapshots.filter((each) => each.damaged || each.unread).map(({ sequence }) => sequence)
  const inPart =
    damaged.length === 0
      ? null
      : html`<p class="bad">Snapshots ${damaged.slice(0, 20).join(', ')}${damaged.length > 20 ? ' and others' : ''} could not be read in full while this report was made.
Their numbers are too small.</p>`
  const unread = html`${inPart}${uncountedLine(model.stats)}`
  if (verified === null) {
    return section(
      'well',
      'Is it well?',
      html`${line}${unread}<p><code>holdfast report --verify full</code> reads every stored byte first, and <code>--verify quick</code> every structure.</p>`,
    )
  }
  const { level, checked, revision, problems, lost } = verified
  const read =
    level === 'full'
      ? html` ${checked.blocks} blocks with ${size(checked.bytes)} in ${count(checked.packs, 'pack')} were read and compared with their digests.`
      : html` Every structure was checked. The bytes of blobs were not read.`
  const problemTable =
    problems.count === 0
      ? null
      : table(
          problems.count > problems.rows.length
            ? `The first ${problems.rows.length} of ${problems.count} problems`
            : 'Problems',
          [{ title: 'Problem' }, { title: 'Of' }, { title: 'Blocks', isNumber: true }, { title: 'What is known' }],
          problems.rows.map(({ code, what, blockCount, hasGoodCopy, recorded }) => [
            recorded ? code : html`<strong class="bad">✕ ${code}</strong>`,
            what,
            blockCount,
            recorded
              ? 'HEAD records it, and no snapshot needs it'
              : hasGoodCopy
                ? 'other packs have good copies'
                : null,
          ]),
        )
  const lostTable =
    lost.count === 0
      ? null
      : table(
          lost.count > lost.rows.length
            ? `The first ${lost.rows.length} of ${lost.count} damaged snapshots`
            : 'Damaged snapshots',
          [{ title: 'Snapshot' }, { title: 'Blobs that cannot be read in full' }],
          lost.rows.map(({ sequence, blobs }) => [
            html`<strong class="bad">✕ ${sequence}</strong>`,
            blobs.length === 0 ? 'all: its manifest is lost' : blobs.map((name) => html`${foreign(name)}<br>`),
          ]),
        )
  return section(
    'well',
    'Is it well?',
    html`${line}<p>Verified${revision === null ? null : html` at revision ${revision} of HEAD`}.${read}</p>${unread}${problemTable}${lostTable}${
      verified.ok
        ? null
        : html`<p>Next: <code>holdfast verify</code> says it with paths, and <code>holdfast repair --dry-run</code> what can be done.</p>`
    }`,
  )
}

function section(id: string, title: string, content: Html): Html {
  return html`<section id="${id}" aria-labelledby="${id}-title"><h2 id="${id}-title">${title}</h2>
${content}
</section>`
}

function swatch(kind: string): Html {
  return html`<svg class="swatch" viewBox="0 0 10 10" aria-hidden="true"><rect class="${kind}" width="10" height="10" rx="2"/></svg>`
}

function percent(part: number, whole: number): string {
  if (whole === 0) return '–'
  const value = (part / whole) * 100
  return `${value > 0 && value < 0.1 ? '< 0.1' : value < 10 ? value.toFixed(1) : Math.round(value)} %`
}

/** Codes only: what the system said has paths in it. */
function uncountedLine({ uncounted, uncountedBytes }: Model['stats']): Html | null {
  if (uncounted.length === 0) return null
  const packs = uncounted.filter(({ what }) => what === 'pack').length
  const beside = uncounted.flatMap(({ what }) => (what === 'pack' ? [] : what))
  const codes = [...new Set(uncounted.map(({ code }) => code))].join(', ')
  return html`<p class="bad">Not counted, because it could not be read (${codes}): ${[
    ...(packs > 0 ? [`${count(packs, 'pack')} of ${sizeText(uncountedBytes)}`] : []),
    ...beside,
  ].join(', ')}.</p>`
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? '' : 's'}`
}
