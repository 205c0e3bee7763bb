import { type Bar, bars, curve, escapeText, MISSED, OURS, THEIRS } from './chart.ts'
import { bytesText, msText, trim } from './measure.ts'
import type { Comparison, Fact, RateTable, RivalTable, Run, SeriesTable, Stat } from './result.ts'
import { ratioText } from './tables.ts'

/** One self-contained page: what was measured, where, and what became of every target. */
export function renderReport(run: Run): string {
  const results = Object.values(run.groups).map(({ result }) => result)
  const comparisons = results.flatMap((result) => result.comparisons ?? [])
  const facts = results.flatMap((result) => result.facts ?? [])
  const curves = results.flatMap((result) => result.curves ?? [])
  const skipped = Object.entries(run.groups).flatMap(([name, { error, result }]) => [
    ...(error === undefined ? [] : [`${name} failed: ${error}`]),
    ...(result.skipped ?? []).map((reason) => `${name}: ${reason}`),
  ])
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<title>holdfast: performance</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; color: #1f2933; margin: 2rem auto; max-width: 1180px; padding: 0 1.5rem; background: #fff }
h1 { font-size: 1.6rem; margin-bottom: .2rem } h2 { font-size: 1.2rem; margin: 2.4rem 0 .3rem } h3 { font-size: 1rem; margin: 1.2rem 0 .2rem }
p { max-width: 48rem; margin: .3rem 0 .6rem } svg { max-width: 100%; height: auto; display: block }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(520px, 1fr)); gap: 1.6rem 2rem }
table { border-collapse: collapse; font-size: 13px } td { padding: .15rem .8rem .15rem 0; vertical-align: top } td:first-child { color: #616e7c; white-space: nowrap }
.limits td { border-top: 1px solid #d9dee4 } .limits td:first-child { color: inherit; white-space: normal } .limits td:nth-child(-n+4):not(:first-child) { white-space: nowrap } .limits td:last-child { color: #616e7c }
.key { display: inline-block; width: .8rem; height: .8rem; margin: 0 .3rem 0 .9rem; vertical-align: -1px } .key:first-child { margin-left: 0 }
</style>
</head>
<body>
<h1>holdfast: performance</h1>
<p>Crash-safe, incremental, verified snapshots against plain files, other stores and backup tools.
${run.quick ? 'A <strong>quick</strong> run: few rounds on small data; for orders of magnitude only. ' : ''}Bars are medians, whiskers go from the fastest run to the slowest.</p>
<table>${machineRows(run)}</table>

<h2>Against plain files: time as a multiple of the plain way</h2>
<p>Both sides ran in turn in one process and both results were compared byte for byte. Shorter is better; 1x is as fast as the plain way.<br>
<span class="key" style="background:${OURS}"></span>target met <span class="key" style="background:${MISSED}"></span>target missed
<span class="key" style="background:${THEIRS}"></span>no target <span class="key" style="background:#1f2933;width:3px"></span>the target</p>
${works(comparisons)}

<h2>Limits</h2>
${factTable(facts)}

<h2>Against other stores and backup tools</h2>
<p>The same bytes, each at its own durable settings: libraries from memory and into memory, tools (and the line "file to file") from a file
and into a file, start of the program included. What never fsyncs is faster for it and loses data for it.</p>
${results
  .flatMap((result) => result.rivals ?? [])
  .map(rivalCharts)
  .join('\n')}

<h2>The journal</h2>
<p>Entries made durable, each kind at its own setting that survives a power loss. Longer is better.</p>
${results
  .flatMap((result) => result.rates ?? [])
  .map(rateChart)
  .join('\n')}

<h2>Bytes kept for six saves of an engine</h2>
<p>Every save is kept and can be had back. Everything on disk counts, indexes and administration too.</p>
<div class="grid">${results
    .flatMap((result) => result.series ?? [])
    .map(seriesChart)
    .join('\n')}</div>

<h2>How it grows</h2>
<div class="grid">${curves.map((one) => `<div><h3>${escapeText(one.title)}</h3>${curve(one)}</div>`).join('\n')}</div>

${skipped.length === 0 ? '' : `<h2>Not run</h2><ul>${skipped.map((reason) => `<li>${escapeText(reason)}</li>`).join('')}</ul>`}
</body>
</html>
`
}

function machineRows(run: Run): string {
  const versions = Object.entries(run.versions).map(([name, version]) => `${name} ${version}`)
  return [...Object.entries(run.machine), ['versions', versions.join(', ')], ['begun', run.started]]
    .map(([name, value]) => `<tr><td>${escapeText(name!)}</td><td>${escapeText(value!)}</td></tr>`)
    .join('')
}

function works(comparisons: readonly Comparison[]): string {
  const kinds = new Map<string, Comparison[]>()
  for (const one of comparisons) kinds.set(one.work, [...(kinds.get(one.work) ?? []), one])
  return [...kinds]
    .map(
      ([work, rows]) =>
        `<h3>${escapeText(work)}, against ${escapeText(rows[0]!.against)}</h3>${bars(rows.map(ratioBar), 'ratio', 'time, as a multiple of the plain way')}`,
    )
    .join('\n')
}

function ratioBar({ data, ours, theirs, ratio, target }: Comparison): Bar {
  return {
    name: data,
    value: ratio.median,
    min: ratio.min,
    max: ratio.max,
    ...(target === undefined ? {} : { target }),
    color: target === undefined ? THEIRS : ratio.median <= target ? OURS : MISSED,
    text: `${ratioText(ratio.median)}x: ${msText(ours.median)} / ${msText(theirs.median)}`,
  }
}

function factTable(facts: readonly Fact[]): string {
  const rows = facts.map(({ what, value, unit, target, detail }) => {
    const verdict =
      target === undefined ? '' : value <= target ? 'met' : `<strong style="color:${MISSED}">not met</strong>`
    const limit = target === undefined ? '' : `at most ${target} ${escapeText(unit)}`
    return `<tr><td>${escapeText(what)}</td><td><strong>${trim(value)} ${escapeText(unit)}</strong></td><td>${limit}</td><td>${verdict}</td><td>${escapeText(detail ?? '')}</td></tr>`
  })
  return `<table class="limits">${rows.join('')}</table>`
}

function rateChart({ work, unit, rows }: RateTable): string {
  const all = rows.map(
    ({ name, rate }, i): Bar => ({
      name,
      value: rate.median,
      min: rate.min,
      max: rate.max,
      color: i === 0 ? OURS : THEIRS,
      text: `${Math.round(rate.median).toLocaleString('en')} ${unit}`,
    }),
  )
  return `<h3>${escapeText(work)}</h3>${bars(all, 'count', unit)}`
}

function rivalCharts({ data, rows }: RivalTable): string {
  const chart = (of: (row: RivalTable['rows'][number]) => Stat | null) =>
    bars(
      rows.flatMap((row): Bar[] => {
        const time = of(row)
        if (time === null) return []
        return [
          {
            name: row.durability.startsWith('never') ? `${row.name} (never fsyncs)` : row.name,
            value: time.median,
            min: time.min,
            max: time.max,
            color: row.name.startsWith('holdfast') ? OURS : THEIRS,
            text: msText(time.median),
          },
        ]
      }),
      'ms',
      'time; shorter is better',
    )
  const stored = bars(
    rows.flatMap((row) =>
      row.storedBytes === null
        ? []
        : [
            {
              name: row.name,
              value: row.storedBytes,
              color: row.name.startsWith('holdfast') ? OURS : THEIRS,
              text: bytesText(row.storedBytes),
            },
          ],
    ),
    'bytes',
    'on disk after it',
  )
  return `<h3>First persist of ${escapeText(data)}</h3>${chart((row) => row.persist)}
<h3>Restore of ${escapeText(data)}</h3>${chart((row) => row.restore)}
<h3>Bytes stored for ${escapeText(data)}</h3>${stored}`
}

function seriesChart({ name, change, generations, rows }: SeriesTable): string {
  const drawn = bars(
    rows.map((row) => ({
      name: row.name,
      value: row.bytes,
      color: row.name.startsWith('holdfast') ? OURS : THEIRS,
      text: bytesText(row.bytes),
    })),
    'bytes',
    `on disk, ${generations} saves`,
    { nameWidth: 170, plot: 260 },
  )
  return `<div><h3>${escapeText(name)}, ${escapeText(change)} each time</h3>${drawn}</div>`
}
