import { type Bytes, CHANGES, type Cost, type EngineResult, MEASURES, type Ratio, type Results } from './result.ts'

/** Puts the tables into a page, between `<!-- begin name -->` and `<!-- end name -->`. */
export function fillIn(page: string, results: Results): string {
  let filled = page
  for (const [name, table] of Object.entries({
    bytes: bytes(results),
    tried: tried(results),
    cost: cost(results),
    ratios: ratios(results),
    stalls: stalls(results),
  })) {
    const between = new RegExp(`(<!-- begin ${name} -->\n)[\\s\\S]*?(<!-- end ${name} -->)`)
    if (!between.test(filled)) throw new Error(`the page has no place for the table ${name}`)
    filled = filled.replace(between, (_all, begin: string, end: string) => `${begin}${table}\n${end}`)
  }
  return filled
}

function row(cells: readonly string[]): string {
  return `| ${cells.join(' | ')} |`
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const align = head.map((_, n) => (n === 0 ? '---' : '---:'))
  return [row(head), row(align), ...rows.map(row)].join('\n')
}

/** `12.3 MB`, of 1,000,000 bytes. */
function mb(bytes: number | null): string {
  if (bytes === null) return 'not known'
  return bytes < 1e5 && bytes > 0 ? `${(bytes / 1e3).toFixed(0)} kB` : `${(bytes / 1e6).toFixed(1)} MB`
}

function share(written: number, total: number): string {
  return written === 0 ? '0' : `${((100 * written) / total).toFixed(1)} %`
}

function changeCells(written: Bytes['written'], total: number): string[] {
  return ['add', 'update', 'remove', 'nothing'].map((change) => {
    const bytes = written[change as (typeof CHANGES)[number]]
    return bytes === 0 ? '0' : `${mb(bytes)} (${share(bytes, total)})`
  })
}

function bytes({ engines }: Results): string {
  const rows: string[][] = []
  for (const [name, result] of Object.entries(engines)) {
    const { layout, ownBytes, version } = result
    rows.push([`**${name} ${version}**`, mb(layout.total), ...changeCells(layout.written, layout.total)])
    rows.push(['its own files, `cp`', mb(ownBytes), ...changeCells(result.ownAfter, ownBytes)])
    for (const other of result.others) {
      const cells = other.written === null ? CHANGES.map(() => 'not installed') : changeCells(other.written, ownBytes)
      rows.push([`its own files, ${other.name}`, mb(ownBytes), ...cells])
    }
  }
  const head = ['', 'snapshot', 'new bytes after +1 %', 'update 1 %', 'delete 1 %', 'nothing changed']
  return `${table(head, rows)}\n\nNothing is compressed. ${contentLines(engines)}`
}

/** What was in which engines, and where it was measured. */
function contentLines(engines: Results['engines']): string {
  return [...grouped(engines, ({ content }) => content)]
    .map(([content, names]) => `${list(names)}: ${content}.`)
    .join(' ')
}

function grouped(engines: Results['engines'], by: (result: EngineResult) => string): Map<string, string[]> {
  const groups = new Map<string, string[]>()
  for (const [name, result] of Object.entries(engines)) {
    const key = by(result)
    groups.set(key, [...(groups.get(key) ?? []), name])
  }
  return groups
}

function list(names: readonly string[]): string {
  return names.length === 1 ? names[0]! : `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`
}

function tried({ engines }: Results): string {
  const rows: string[][] = []
  for (const [name, { layout, layoutName, tried }] of Object.entries(engines)) {
    for (const { layout: what, bytes } of tried) {
      rows.push([`${name}: ${what}`, mb(bytes.total), ...changeCells(bytes.written, bytes.total)])
    }
    rows.push([`**${name}: ${layoutName}**`, mb(layout.total), ...changeCells(layout.written, layout.total)])
  }
  return table(['layout', 'snapshot', '+1 %', 'update 1 %', 'delete 1 %', 'nothing changed'], rows)
}

function cost({ engines }: Results): string {
  const rows: string[][] = []
  for (const [name, result] of Object.entries(engines)) {
    rows.push([`**${name}**, holdfast`, ...costCells(result.ours)])
    rows.push([`${name}'s own: ${result.ownWhat}`, ...costCells(result.own)])
  }
  const head = ['', 'save', 'CPU', 'peak memory', 'longest wait', 'load', 'CPU', 'peak memory', 'longest wait']
  return `${table(head, rows)}\n\n${runLines(engines)}`
}

const WHAT: Record<(typeof MEASURES)[number], string> = {
  first: 'first save',
  changed: 'save after +1 %',
  unchanged: 'save, nothing changed',
  image: 'restore, image there',
  assembled: 'restore',
  view: 'restore, `view`',
}

/** The most that is wanted, as a ratio to the engine's own; null where it is no plain ratio. */
const WANTED: Record<string, Partial<Record<(typeof MEASURES)[number], number>>> = {
  MiniSearch: { first: 1.2, changed: 1.2, unchanged: 1.1, assembled: 0.9 },
  Orama: { first: 1.2, changed: 1.2, unchanged: 1.1, assembled: 0.9 },
  FlexSearch: { first: 3, changed: 2.5, unchanged: 2, assembled: 2 },
  'hnswlib-node': { first: 2.5, changed: 2, unchanged: 1.4, assembled: 3 },
  usearch: { first: 2.5, changed: 2, unchanged: 1.4, assembled: 3 },
  'SQLite FTS5': { first: 2, changed: 1.5, unchanged: 1.2, assembled: 2 },
}

function ratios({ engines }: Results): string {
  const nodes = new Set(Object.values(engines).flatMap(({ ratios }) => Object.keys(ratios ?? {})))
  return [...nodes]
    .sort()
    .map((node) => ratiosOn(node, engines))
    .join('\n\n')
}

function stalls({ engines }: Results): string {
  const measured = Object.entries(engines).flatMap(([name, { stalls }]) =>
    Object.entries(stalls ?? {}).map(([node, on]) => ({ name, node, on })),
  )
  if (measured.length === 0) return 'Not measured.'
  const ms = (value: number): string => `${value.toFixed(1)} ms`
  const rows = measured.map(({ name, node, on: { save, restore, captureMs, exportMs, captureRatio } }) => [
    `${name}, ${node}`,
    ...[save, restore].map(({ longestMs, p99Ms }) => `${ms(longestMs)} (${ms(p99Ms)})`),
    ms(captureMs),
    ms(exportMs),
    captureRatio.toFixed(2),
  ])
  const head = [
    '',
    'save: longest turn (p99)',
    'restore: longest turn (p99)',
    'capture',
    "engine's own export",
    'ratio',
  ]
  const how = measured.map(({ name, on: { node, rounds, date, load } }) => {
    return `${name} (${rounds} rounds, Node ${node}, ${date}, load ${load.start.toFixed(1)} to ${load.end.toFixed(1)})`
  })
  return `${table(head, rows)}\n\nMeasured: ${list(how)}.`
}

function ratiosOn(node: string, engines: Results['engines']): string {
  const measured = Object.entries(engines).flatMap(([name, { ratios }]) => {
    const on = ratios?.[node]
    return on === undefined ? [] : [{ name, on }]
  })
  const rows = measured.flatMap(({ name, on: { measures } }) =>
    MEASURES.flatMap((measure) => {
      const ratio = measures[measure]
      if (ratio === undefined) return []
      return [[`${name}: ${whatOf(measure, measures)}`, ...ratioCells(ratio, wanted(name, measure, ratio))]]
    }),
  )
  const head = [node, 'holdfast', "engine's own", 'ratio (quartiles)', 'goal', 'written', 'own']
  const loads = measured.map(({ name, on }) => {
    const rounds = MEASURES.flatMap((measure) => on.measures[measure]?.rounds ?? [])
    const [least, most] = [Math.min(...rounds), Math.max(...rounds)]
    const many = least === most ? `${most}` : `${least} to ${most}`
    const { start, end } = on.load
    const first = on.priority < 0 ? ', both sides before other work' : ''
    return `${name} (${many} rounds, Node ${on.node}, ${on.date}, load ${start.toFixed(1)} to ${end.toFixed(1)}${first})`
  })
  return `${table(head, rows)}\n\nMeasured: ${list(loads)}.`
}

function whatOf(measure: (typeof MEASURES)[number], measures: object): string {
  return measure === 'assembled' && 'image' in measures ? 'restore, assembled' : WHAT[measure]
}

/** From an image: the engine's own load, 2.5 GB a second to hash it, and 15 ms. */
function wanted(name: string, measure: (typeof MEASURES)[number], { own }: Ratio): number | null {
  const plain = WANTED[name]?.[measure]
  if (plain !== undefined) return plain
  return measure === 'image' || measure === 'view' ? (own.ms + IMAGE_MB / 2.5 + 15) / own.ms : null
}

/** Of the index of 50,000 vectors. */
const IMAGE_MB = 58.6

function ratioCells({ ours, own, median, quartiles }: Ratio, wanted: number | null): string[] {
  const ms = (value: number): string => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`
  const goal = wanted === null ? '' : `${wanted.toFixed(1)}, ${median <= wanted ? 'met' : '**not met**'}`
  const times = `${median.toFixed(2)} (${quartiles.lower.toFixed(2)} to ${quartiles.upper.toFixed(2)})`
  return [ms(ours.ms), ms(own.ms), times, goal, mb(ours.writtenBytes), mb(own.writtenBytes)]
}

function runLines(engines: Results['engines']): string {
  const groups = grouped(
    engines,
    ({ runs, machine, date }) =>
      `medians of ${runs} runs, each in a process of its own, both sides in turn, on ${date}; ${machine}`,
  )
  const loads = Object.entries(engines).map(([name, { load }]) => {
    return `${load.start.toFixed(1)} to ${load.end.toFixed(1)} (${name})`
  })
  const lines = [...groups].map(([how, names]) => `${list(names)}: ${how}.`)
  return `${lines.join(' ')} The machine did other work as well, with a load of ${list(loads)}: CPU time says more than time.`
}

function costCells(cost: Cost): string[] {
  const ms = (value: number): string => `${Math.round(value)} ms`
  return [
    ms(cost.saveMs),
    ms(cost.saveCpuMs),
    mb(cost.savePeak),
    ms(cost.saveBlockMs),
    ms(cost.loadMs),
    ms(cost.loadCpuMs),
    mb(cost.loadPeak),
    ms(cost.loadBlockMs),
  ]
}
