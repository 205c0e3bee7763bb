// A page in a real browser: Debian's Chromium, headless. Installed where root can; where there is none the tests say
// that they are skipped.

import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { type Browser, chromium, type Page } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { openStore, type Stats } from '../../src/index.ts'
import { done } from '../cli/holdfast.ts'
import { noise } from '../support/bytes.ts'
import { scratch } from '../support/scratch.ts'
import { expectNumbers, HOSTILE } from './page.ts'

const executablePath = browserPath()

function browserPath(): string | null {
  const path = '/usr/bin/chromium'
  if (existsSync(path)) return path
  if (process.platform !== 'linux' || process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return null
  try {
    execFileSync('apt-get', ['install', '-y', '-qq', '--no-install-recommends', 'chromium'], { stdio: 'ignore' })
  } catch {
    return null
  }
  return existsSync(path) ? path : null
}

if (executablePath === null) test.skip('the page in a browser: not tested, Chromium is not installed', () => {})

describe.skipIf(executablePath === null)('in Chromium', () => {
  let browser: Browser

  beforeAll(async () => {
    // As root it has no sandbox. It is shown nothing but our page.
    browser = await chromium.launch({ executablePath: executablePath!, args: ['--no-sandbox'] })
  }, 60_000)

  afterAll(async () => await browser?.close())

  /** What the page complains of, and what it asks the network for. */
  async function opened(url: string, options: { javaScriptEnabled?: boolean } = {}) {
    const context = await browser.newContext({ viewport: { width: 1100, height: 800 }, ...options })
    onTestFinished(async () => await context.close())
    const page = await context.newPage()
    const complaints: string[] = []
    const requests: string[] = []
    page.on('console', (message) => void complaints.push(`${message.type()}: ${message.text()}`))
    page.on('pageerror', (error) => void complaints.push(error.message))
    page.on('dialog', (dialog) => {
      complaints.push(`dialog: ${dialog.message()}`)
      void dialog.dismiss()
    })
    page.on('request', (request) => {
      if (!request.url().startsWith('data:')) requests.push(request.url())
    })
    await page.goto(url)
    return { page, complaints, requests }
  }

  async function reportOf(store: string): Promise<{ file: string; stats: Stats }> {
    const file = join(scratch(), 'report.html')
    await done(['report', '-o', file, '--verify', 'quick', '-s', store])
    return { file, stats: (await done(['stats', '-s', store, '--json'])).document as unknown as Stats }
  }

  async function hostileStore(): Promise<string> {
    const path = join(scratch(), 'store')
    await using store = await openStore(path, { keep: { last: 20 } })
    const index = noise(600_000, 1)
    for (const [i, text] of HOSTILE.entries()) {
      index.set(noise(3_000, 50 + i), 80_000 * i)
      await store.persist({ blobs: { index, [text]: text.repeat(20), 'not/hostile': `${i}` }, message: text })
      if (!/\p{Cc}/u.test(text) && text.length <= 256) await store.tag(text)
    }
    return path
  }

  const exactTexts = (page: Page): Promise<Record<string, string>> =>
    page.evaluate(
      `Object.fromEntries([...document.querySelectorAll('data[id]')].map((data) => [data.id, data.textContent]))`,
    )

  test('it renders without a word on the console and without the network, and its numbers are those of stats', async () => {
    const { file, stats } = await reportOf(await hostileStore())
    const { page, complaints, requests } = await opened(pathToFileURL(file).href)
    expect(await page.title()).toBe(`Snapshot ${HOSTILE.length} – holdfast report`)
    for (const picture of ['.bar', '.chart', '.map', '.packs']) {
      const box = await page.locator(picture).first().boundingBox()
      expect(box!.width, picture).toBeGreaterThan(300)
      expect(box!.height, picture).toBeGreaterThan(20)
    }
    expectNumbers(await page.content(), stats)
    await page.getByRole('button', { name: 'Exact bytes' }).click()
    const texts = await exactTexts(page)
    expect(texts.liveBytes).toBe(stats.liveBytes.toLocaleString('en'))
    for (const { sequence, addedBytes, freesBytes } of stats.snapshots) {
      expect(texts[`added-${sequence}`]).toBe(addedBytes.toLocaleString('en'))
      expect(texts[`frees-${sequence}`]).toBe(freesBytes.toLocaleString('en'))
    }
    // The names are there, as text.
    await expect.poll(() => page.locator('bdi', { hasText: HOSTILE[0]! }).count()).toBeGreaterThan(0)
    expect({ complaints, requests }).toEqual({ complaints: [], requests: [pathToFileURL(file).href] })
  })

  test('from a web server it asks for nothing else', async () => {
    const { file } = await reportOf(await hostileStore())
    const asked: string[] = []
    const server = createServer((request, response) => {
      asked.push(request.url!)
      response.setHeader('content-type', 'text/html').end(readFileSync(file))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    onTestFinished(() => void server.close())
    const { page, complaints } = await opened(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
    await page.waitForTimeout(300)
    expect({ asked, complaints }).toEqual({ asked: ['/'], complaints: [] })
  })

  test('a script or style that was smuggled in would not run', async () => {
    const { file } = await reportOf(await hostileStore())
    const { page, complaints } = await opened(pathToFileURL(file).href)
    await page.evaluate(`
      const script = document.createElement('script')
      script.textContent = 'document.title = "smuggled"'
      document.body.append(script)
      document.body.insertAdjacentHTML('beforeend', '<img src="x" onerror="document.title = 1"><p id="red" style="color: red"></p>')`)
    await page.waitForTimeout(200)
    expect(await page.title()).not.toMatch(/smuggled|1$/)
    expect(await page.evaluate(`getComputedStyle(document.getElementById('red')).color`)).not.toBe('rgb(255, 0, 0)')
    expect(complaints.join()).toContain('Content Security Policy')
  })

  test('the keyboard reaches everything, and walks through the snapshots', async () => {
    const { file, stats } = await reportOf(await hostileStore())
    const { page } = await opened(pathToFileURL(file).href)
    const reached: string[] = []
    const isOnTimeline = (): Promise<boolean> => page.evaluate(`document.activeElement.id === 'timeline'`)
    for (let i = 0; i < 80; i++) {
      await page.keyboard.press('Tab')
      const name = await page.evaluate<string>(`(() => {
        const at = document.activeElement
        if (at === document.body) return ''
        // What has the focus is seen to have it.
        const { outlineStyle } = getComputedStyle(at)
        return (outlineStyle === 'none' ? 'unseen ' : '') + (at.id || at.getAttribute('href') || at.tagName.toLowerCase())
      })()`)
      if (name === '') break
      reached.push(name)
      if (await isOnTimeline()) {
        const sequences = stats.snapshots.map(({ sequence }) => sequence).reverse()
        const told = (): Promise<string | null> => page.locator('#timeline').getAttribute('aria-valuetext')
        expect(await told()).toContain(`Snapshot ${sequences.at(-1)} (current)`)
        await page.keyboard.press('ArrowLeft')
        expect(await told()).toContain(`Snapshot ${sequences.at(-2)},`)
        await page.keyboard.press('Home')
        expect(await told()).toContain(`Snapshot ${sequences[0]},`)
        expect(await page.locator('#picked').textContent()).toBe(await told())
        await page.keyboard.press('End')
        await page.keyboard.press('ArrowRight')
        expect(await told()).toContain(`Snapshot ${sequences.at(-1)} (current)`)
      }
    }
    expect(reached.slice(0, 8)).toEqual(['#main', 'exact', 'theme', '#well', '#large', '#changed', '#back', '#well'])
    expect(reached).toContain('timeline')
    expect(reached.filter((name) => name.startsWith('unseen'))).toEqual([])
    expect(reached.filter((name) => name === 'summary').length).toBe(await page.locator('summary').count())
    expect(new Set(reached).size).toBeGreaterThan(9)
  })

  test('a screen reader is told headings, tables with captions, and the name of every control', async () => {
    const { file } = await reportOf(await hostileStore())
    const { page } = await opened(pathToFileURL(file).href)
    for (const question of ['Why is it this large?', 'What changed?', 'What would I get back?', 'Is it well?']) {
      await expect.poll(() => page.getByRole('region', { name: question, exact: true }).count()).toBe(1)
    }
    await page.evaluate(`for (const details of document.querySelectorAll('details')) details.open = true`)
    const tables = page.getByRole('table')
    // What takes the space, snapshots, what changed, packs, and one for each map.
    expect(await tables.count()).toBe(4 + (await page.locator('.map').count()))
    for (const table of await tables.all()) expect(await table.locator('caption').textContent()).not.toBe('')
    for (const button of await page.getByRole('button').all()) expect(await button.textContent()).not.toBe('')
    expect(await page.getByRole('slider', { name: 'Snapshot of the timeline' }).count()).toBe(1)
    expect(await page.locator('svg:not([aria-hidden=true])').count()).toBe(0)
  })

  test('in both themes, chosen or the system’s, all text has contrast enough', async () => {
    const { file } = await reportOf(await hostileStore())
    const { page } = await opened(pathToFileURL(file).href)
    const paper = (): Promise<string> => page.evaluate(`getComputedStyle(document.body).backgroundColor`)
    const seen = new Set<string>()
    for (const colorScheme of ['light', 'dark'] as const) {
      await page.emulateMedia({ colorScheme })
      seen.add(await paper())
      expect(await page.evaluate(LOW_CONTRAST), colorScheme).toEqual([])
    }
    expect(seen.size).toBe(2)
    const button = page.locator('#theme')
    await button.click()
    expect([await button.textContent(), [...seen].indexOf(await paper())]).toEqual(['Theme: light', 0])
    await button.click()
    expect([await button.textContent(), [...seen].indexOf(await paper())]).toEqual(['Theme: dark', 1])
  })

  test('without scripts it has everything but the walk', async () => {
    const { file, stats } = await reportOf(await hostileStore())
    const { page } = await opened(pathToFileURL(file).href, { javaScriptEnabled: false })
    expectNumbers(await page.content(), stats)
    expect(await page.locator('button:visible').count()).toBe(0)
    expect(await page.getByRole('img', { name: /^Timeline of the snapshots/ }).count()).toBe(1)
  })

  test('a telephone scrolls it in one direction only', async () => {
    const { file } = await reportOf(await hostileStore())
    const { page } = await opened(pathToFileURL(file).href)
    await page.setViewportSize({ width: 380, height: 700 })
    expect(await page.evaluate(`document.documentElement.scrollWidth`)).toBeLessThanOrEqual(380)
  })
})

/** Text below 4.5 to 1 (WCAG 2.2, 1.4.3), by the luminances of that page. Pictures have tables behind them. */
const LOW_CONTRAST = `(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext('2d', { willReadFrequently: true })
  const parse = (color) => {
    canvas.clearRect(0, 0, 1, 1)
    canvas.fillStyle = color
    canvas.fillRect(0, 0, 1, 1)
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data
    return { channels: [r, g, b], a }
  }
  const luminance = ({ channels }) => {
    const [r, g, b] = channels.map((value) => {
      const part = value / 255
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
    })
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
  }
  const backOf = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor)
      if (color.a === 255) return color
    }
    return parse('white')
  }
  const low = []
  for (const element of document.querySelectorAll('body *')) {
    const hasText = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim() !== '')
    if (!hasText || element.closest('svg, script')) continue
    const [a, b] = [luminance(parse(getComputedStyle(element).color)), luminance(backOf(element))]
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)
    if (ratio < 4.5) low.push(element.tagName + ' ' + element.textContent.slice(0, 40) + ' ' + ratio.toFixed(2))
  }
  return low
})()`
