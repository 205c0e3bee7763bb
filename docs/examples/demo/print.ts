// Colours only for a person at a terminal who wants them (https://no-color.org).
const colours = process.stdout.isTTY === true && !process.env.NO_COLOR

function painter(code: number): (text: string) => string {
  return (text) => (colours ? `\u001b[${code}m${text}\u001b[0m` : text)
}

export const bold = painter(1)
export const dim = painter(2)
export const red = painter(31)
export const green = painter(32)

export function print(line = ''): void {
  console.log(line)
}

let act = 0

/** Begins the next act of the story. */
export function heading(title: string): void {
  act += 1
  print()
  print(bold(`${act}  ${title}`))
}

export function tell(...paragraph: string[]): void {
  for (const line of paragraph) print(`   ${line}`)
}

/** Rows in columns as wide as their widest cell; numbers and measures to the right, a last column of words free. */
export function table(rows: readonly (readonly string[])[], header?: readonly string[]): void {
  const all = header === undefined ? rows : [header, ...rows]
  const columns = Math.max(...all.map((row) => row.length))
  const widths = Array.from({ length: columns }, (_, i) => Math.max(...all.map((row) => row[i]?.length ?? 0)))
  const right = widths.map((_, i) => rows.every((row) => /^(?:[\d,.]+( ?(%|B|kB|MB|GB|ms|s))?|)$/.test(row[i] ?? '')))
  for (const row of all) {
    const cells = row.map((cell, i) => (right[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
    const line = `     ${cells.join('   ').trimEnd()}`
    print(row === header ? dim(line) : line)
  }
}

let claims = 0

/** Says a claim that has just been found true; stops the demo when it is not. */
export function claim(isTrue: boolean, text: string): asserts isTrue {
  if (!isTrue) throw new Untrue(text)
  claims += 1
  tell(`${green('✔')} ${text}`)
}

export function claimsChecked(): number {
  return claims
}

export class Untrue extends Error {}

export function bytes(count: number): string {
  if (count < 1000) return `${count} B`
  if (count < 1e6) return `${(count / 1e3).toFixed(1)} kB`
  return `${(count / 1e6).toFixed(1)} MB`
}

export function duration(ms: number): string {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`
}

export function number(count: number): string {
  return count.toLocaleString('en-US')
}

export function percent(part: number, whole: number): string {
  return `${((100 * part) / whole).toFixed(1)} %`
}
