import { bytesText, msText, trim } from './measure.ts'
import type { Comparison, CountRow, Fact, RateTable, RivalTable, Run, SeriesTable, Stat } from './result.ts'

/** The tables of `docs/performance.md`, by the name of their place in it. */
export function renderTables(run: Run): Record<string, string> {
  const results = Object.values(run.groups).map(({ result }) => result)
  const comparisons = results.flatMap((result) => result.comparisons ?? [])
  const facts = results.flatMap((result) => result.facts ?? [])
  return {
    machine: machineTable(run),
    targets: targetTable(comparisons, facts),
    other: otherTable(
      comparisons,
      facts.filter(({ id }) => !id.startsWith('part-')),
    ),
    parts: partTable(facts.filter(({ id }) => id.startsWith('part-'))),
    counts: countTable(results.flatMap((result) => result.counts ?? [])),
    rivals: results
      .flatMap((result) => result.rivals ?? [])
      .map(rivalTable)
      .join('\n\n'),
    series: seriesTable(results.flatMap((result) => result.series ?? [])),
    journal: results
      .flatMap((result) => result.rates ?? [])
      .map(rateTable)
      .join('\n\n'),
    skipped: skippedList(run),
  }
}

/** Columns after the first that have nothing in them are left out. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const kept = head.map((_, i) => i === 0 || rows.some((row) => row[i] !== ''))
  const line = (cells: readonly string[]) => `| ${cells.filter((_, i) => kept[i]).join(' | ')} |`
  const rule = `|${head
    .filter((_, i) => kept[i])
    .map(() => '---')
    .join('|')}|`
  return [line(head), rule, ...rows.map(line)].join('\n')
}

function machineTable(run: Run): string {
  const versions = Object.entries(run.versions).map(([name, version]) => `${name} ${version}`)
  const loads = Object.entries(run.groups).map(
    ([name, { load, seconds }]) => `${name} ${load.toFixed(1)} (${seconds} s)`,
  )
  return table(
    ['', ''],
    [
      ...Object.entries(run.machine).map(([name, value]) => [name, value]),
      ['versions', versions.join(', ')],
      ['begun', run.started],
      ['load average at the end of each group', loads.join(', ')],
    ],
  )
}

function targetTable(comparisons: readonly Comparison[], facts: readonly Fact[]): string {
  const rows = comparisons
    .filter(({ target }) => target !== undefined)
    .map((row) => [
      row.work,
      row.data,
      times(row),
      range(row.ratio),
      fastest(row),
      cpu(row),
      `<= ${row.target}x`,
      met(row.ratio.median, row.target!),
    ])
  const factRows = facts
    .filter(({ target }) => target !== undefined)
    .map(({ what, value, unit, target, detail }) => [
      what,
      detail ?? '',
      `**${trim(value)} ${unit}**`,
      '',
      '',
      '',
      `<= ${target} ${unit}`,
      met(value, target!),
    ])
  const head = ['work', 'data', 'holdfast / plain', 'ratio (range)', 'fastest runs', 'CPU', 'target', '']
  return table(head, [...rows, ...factRows])
}

function otherTable(comparisons: readonly Comparison[], facts: readonly Fact[]): string {
  return table(
    ['work', 'data', 'holdfast / plain', 'ratio (range)', 'fastest runs', 'CPU'],
    [
      ...comparisons
        .filter(({ target }) => target === undefined)
        .map((row) => [row.work, row.data, times(row), range(row.ratio), fastest(row), cpu(row)]),
      ...facts
        .filter(({ target }) => target === undefined)
        .map(({ what, value, unit, detail }) => [what, detail ?? '', `**${trim(value)} ${unit}**`, '', '', '']),
    ],
  )
}

/** Of the fastest run of each side: what a machine that does nothing else would come near. */
function fastest({ ours, theirs }: Comparison): string {
  return ratioText(ours.min / theirs.min)
}

/** Processor time, as a multiple of the other side's. */
function cpu({ cpu }: Comparison): string {
  return cpu === undefined ? '' : ratioText(cpu.median)
}

function partTable(facts: readonly Fact[]): string {
  return table(
    ['', 'median', ''],
    facts.map(({ what, value, detail }) => [what.replace('part: ', ''), msText(value), detail ?? '']),
  )
}

function times({ ours, theirs }: Comparison): string {
  return `${msText(ours.median)} / ${msText(theirs.median)}`
}

function range({ median, min, max }: Stat): string {
  return `**${ratioText(median)}** (${ratioText(min)}-${ratioText(max)})`
}

export function ratioText(ratio: number): string {
  return ratio >= 10 ? ratio.toFixed(0) : ratio >= 0.095 ? ratio.toFixed(2) : ratio.toFixed(3)
}

function met(value: number, target: number): string {
  return value <= target ? 'met' : '**not met**'
}

function countTable(rows: readonly CountRow[]): string {
  const call = ({ calls }: CountRow, ...names: string[]) =>
    String(names.reduce((sum, name) => sum + (calls[name] ?? 0), 0))
  return table(
    [
      'operation',
      'file fsyncs',
      'directory fsyncs',
      'writes',
      'bytes written',
      'reads',
      'bytes read',
      'opens',
      'renames',
    ],
    rows.map((row) => [
      row.operation,
      call(row, 'file.sync'),
      call(row, 'syncDirectory', 'directory.sync'),
      call(row, 'file.write'),
      bytesText(row.bytesWritten),
      call(row, 'file.read'),
      bytesText(row.bytesRead),
      call(row, 'open', 'openDirectory'),
      call(row, 'rename'),
    ]),
  )
}

function rivalTable({ data, rows }: RivalTable): string {
  const time = (of: Stat | null) => (of === null ? '' : `${msText(of.median)} (${msText(of.min)}-${msText(of.max)})`)
  return [
    `**${data}**\n`,
    table(
      ['', 'first persist', 'restore', 'stored', 'durability'],
      rows.map((row) => [
        row.name,
        time(row.persist),
        time(row.restore),
        row.storedBytes === null ? '' : bytesText(row.storedBytes),
        row.durability,
      ]),
    ),
  ].join('\n')
}

function rateTable({ work, unit, rows, target }: RateTable): string {
  const text = (value: number) => Math.round(value).toLocaleString('en')
  const ours = rows[0]!.rate.median
  const verdict = target === undefined ? '' : `; target ${text(target)}, ${ours >= target ? 'met' : '**not met**'}`
  return [
    `**${work}**${verdict}\n`,
    table(
      ['', unit, 'range', 'durability'],
      rows.map(({ name, durability, rate }) => [
        name,
        text(rate.median),
        `${text(rate.min)}-${text(rate.max)}`,
        durability,
      ]),
    ),
  ].join('\n')
}

function seriesTable(tables: readonly SeriesTable[]): string {
  const names = [...new Set(tables.flatMap(({ rows }) => rows.map(({ name }) => name)))]
  return table(
    ['series', ...names],
    tables.map((one) => {
      const least = Math.min(...one.rows.map(({ bytes }) => bytes))
      return [
        `${one.name}, ${one.change}`,
        ...names.map((name) => {
          const row = one.rows.find((row) => row.name === name)
          if (row === undefined) return ''
          return row.bytes === least ? `**${bytesText(row.bytes)}**` : bytesText(row.bytes)
        }),
      ]
    }),
  )
}

function skippedList(run: Run): string {
  const lines = Object.entries(run.groups).flatMap(([name, { error, result }]) => [
    ...(error === undefined ? [] : [`- ${name}: failed, ${error}`]),
    ...(result.skipped ?? []).map((reason) => `- ${name}: ${reason}`),
  ])
  return lines.length === 0 ? 'Nothing was skipped.' : lines.join('\n')
}
