import { type Bytes, CHANGES, type Cost, type EngineResult, type Results } from './result.ts'

/** Puts the tables into a page, between `<!-- begin name -->` and `<!-- end name -->`. */
export function fillIn(page: string, results: Results): string {
  let filled = page
  for (const [name, table] of Object.entries({ bytes: bytes(results), tried: tried(results), cost: cost(results) })) {
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

function bytes({ machine, engines }: Results): string {
  const rows: string[][] = []
  for (const [name, result] of Object.entries(engines)) {
    const { layout, ownBytes, version } = result
    rows.push([`**${name} ${version}**`, mb(layout.total), ...changeCells(layout.written, layout.total)])
    const whole = { nothing: ownBytes, add: ownBytes, update: ownBytes, remove: ownBytes }
    rows.push(['its own files, `cp`', mb(ownBytes), ...changeCells(whole, ownBytes)])
    for (const other of result.others) {
      const cells = other.written === null ? CHANGES.map(() => 'not installed') : changeCells(other.written, ownBytes)
      rows.push([`its own files, ${other.name}`, mb(ownBytes), ...cells])
    }
  }
  const head = ['', 'snapshot', 'new bytes after +1 %', 'update 1 %', 'delete 1 %', 'nothing changed']
  return `${corpusLine(engines)} Nothing is compressed. ${machine}.\n\n${table(head, rows)}`
}

function corpusLine(engines: Results['engines']): string {
  const { documents, textBytes } = Object.values(engines)[0]!
  const count = documents.toLocaleString('en-US')
  return `${count} paragraphs (${mb(textBytes)}) of the Markdown and type declarations under this repository's \`node_modules\`; their titles are stored.`
}

function tried({ engines }: Results): string {
  const rows: string[][] = []
  for (const [name, { layout, tried }] of Object.entries(engines)) {
    for (const { layout: what, bytes } of tried) {
      rows.push([`${name}: ${what}`, mb(bytes.total), ...changeCells(bytes.written, bytes.total)])
    }
    rows.push([
      `**${name}: a line for each document, 4 KiB**`,
      mb(layout.total),
      ...changeCells(layout.written, layout.total),
    ])
  }
  return table(['layout', 'snapshot', '+1 %', 'update 1 %', 'delete 1 %', 'nothing changed'], rows)
}

function cost({ machine, engines }: Results): string {
  const rows: string[][] = []
  for (const [name, result] of Object.entries(engines)) {
    rows.push([`**${name}**, holdfast`, ...costCells(result.ours)])
    rows.push([`${name}'s own: ${result.ownWhat}`, ...costCells(result.own)])
  }
  const head = ['', 'save', 'CPU', 'peak memory', 'longest wait', 'load', 'CPU', 'peak memory', 'longest wait']
  return `${runsLine(Object.values(engines)[0]!)} ${machine}.\n\n${table(head, rows)}`
}

function runsLine({ runs }: EngineResult): string {
  return `Medians of ${runs} runs, each in a process of its own, both sides in turn, on a machine that did other work as well: CPU time says more than time.`
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
