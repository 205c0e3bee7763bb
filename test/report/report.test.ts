// What is on a page, and what is not.

import { createHash } from 'node:crypto'
import { expect, test } from 'vitest'
import { memory, openStore, type Store } from '../../src/index.ts'
import { noise } from '../support/bytes.ts'
import { build, chunkOf, persisted, visit, withRottenChunk } from '../support/lab.ts'
import { scratch } from '../support/scratch.ts'
import { expectNumbers, HOSTILE, numberOf } from './page.ts'

async function grown(store: Store): Promise<Store> {
  const index = noise(400_000, 1)
  for (let i = 0; i < 5; i++) {
    index.set(noise(2_000, 100 + i), 90_000 * i)
    await store.persist({ blobs: { index, log: noise(10_000 * i, 7) }, message: `save ${i}` })
  }
  await store.tag('v1', { at: 2 })
  await store.forget(3)
  return store
}

test('its numbers are those of stats', async () => {
  await using store = await grown(memory({ keep: { last: 10 } }))
  const { html, ok, revision, current } = await store.report()
  const stats = await store.stats()
  expectNumbers(html, stats)
  expect({ ok, revision, current }).toEqual({ ok: null, revision: stats.revision, current: 5 })
  expect(html).toContain('Not verified now')
  expect(html).toContain('save 4')
  expect(numberOf(html, 'added-3')).toBeUndefined()
})

test('a store in which nothing was ever persisted has a page, too', async () => {
  await using store = memory()
  const { html, current } = await store.report({ verify: 'full' })
  expect(current).toBeNull()
  expect(html).toContain('No snapshot is kept.')
})

test('what it loads and runs is nothing but its own style and script', async () => {
  await using store = await grown(memory({ keep: { last: 10 } }))
  const { html } = await store.report()
  const parts = {
    style: /<style>([\s\S]*?)<\/style>/.exec(html)![1]!,
    script: /<script>([\s\S]*?)<\/script>/.exec(html)![1]!,
  }
  for (const [name, text] of Object.entries(parts)) {
    const hash = createHash('sha256').update(text).digest('base64')
    expect(html).toContain(`${name}-src 'sha256-${hash}'`)
  }
  expect(html).toContain(`content="default-src 'none'; `)
  expect(html.match(/<(script|style|link|img|iframe|object)\b/g)).toEqual(['<link', '<style', '<script'])
  expect(html).not.toMatch(/https?:|url\(|@import|\sstyle="|\son\w+="/)
  expect(html).not.toContain('innerHTML')
})

test('names, tags and messages are text, whatever is in them', async () => {
  await using store = memory()
  await store.persist({ blobs: { plain: 'x' } })
  const calm = (await store.report()).html
  for (const text of HOSTILE) {
    const message = `${text}&amp;`
    await store.persist({ blobs: { [text]: noise(3_000, text.length), other: text }, message })
    if (!/\p{Cc}/u.test(text) && text.length <= 256) await store.tag(text)
  }
  const { html } = await store.report()
  // Elements and attributes are those that a harmless store has.
  const kinds = (page: string): string[] => [...new Set([...page.matchAll(/<\/?[a-z][\w-]*/g)].map(String))].sort()
  expect(kinds(html).filter((tag) => !kinds(calm).includes(tag) && !/^<\/?(g|del|h4|path)$/.test(tag))).toEqual([])
  expect(html).not.toMatch(/(?!\n)[\p{Cc}\u202a-\u202e\u2066-\u2069]/u)
  expect(html).toContain('<bdi>photo\\u{202e}gnp.exe</bdi>')
  expect(html).toContain('&#38;amp;')
})

test('metadata, paths, user and host are not on it, and with redact no name, message or digest', async () => {
  const path = `${scratch()}/secret-path`
  await using store = await openStore(path)
  await store.persist({ blobs: { 'secret-name': noise(5_000, 1) }, metadata: { key: 'secret-value' } })
  await store.persist({
    blobs: { 'secret-name': noise(5_000, 2), 'secret-other': 'y' },
    message: 'secret-message',
    metadata: { key: 'secret-value' },
  })
  await store.tag('secret-tag')
  const { html } = await store.report({ verify: 'full' })
  expect([...new Set(html.match(/secret-\w+/g))].sort()).toEqual([
    'secret-message',
    'secret-name',
    'secret-other',
    'secret-tag',
  ])
  const redacted = (await store.report({ verify: 'full', redact: true })).html
  expect(redacted).not.toContain('secret')
  expect(redacted).toContain('<bdi>blob 2</bdi>')
  expect(redacted).toContain('<bdi>tag 1</bdi>')
  const snapshots = await store.snapshots()
  const { packs } = await store.stats()
  for (const digest of [...snapshots.map(({ manifest }) => manifest), ...packs.map(({ pack }) => pack)]) {
    expect(redacted).not.toContain(digest.slice(0, 12))
  }
  expectNumbers(redacted, await store.stats())
})

test('damage that verify finds is on it, with the blobs that it costs', async () => {
  const image = withRottenChunk(await build(persisted('a', 'b')), chunkOf('a', 1))
  const { result } = await visit(image, async (store) => ({
    plain: await store.report(),
    full: await store.report({ verify: 'full' }),
    redacted: await store.report({ verify: 'full', redact: true }),
    report: await store.verify(),
  }))
  const { plain, full, redacted, report } = result
  expect(report.ok).toBe(false)
  expect(plain.html).toContain('Not verified now')
  expect(full.ok).toBe(false)
  expect(full.html).toContain('✕ PACK_DAMAGED')
  for (const { code } of report.problems) expect(full.html).toContain(code)
  const lost = report.snapshots.filter(({ intact }) => !intact)
  expect(lost.length).toBeGreaterThan(0)
  for (const { sequence } of lost) expect(full.html).toContain(`✕ ${sequence}</strong>`)
  const { pack } = report.problems.find(({ code }) => code === 'PACK_DAMAGED')!
  expect(full.html).toContain(pack!.slice(0, 12))
  expect(redacted.html).not.toContain(pack!.slice(0, 8))
})

test('the same facts give the same page', async () => {
  await using store = await grown(memory({ keep: { last: 10 } }))
  const [first, second] = [await store.report(), await store.report()]
  const timeless = (page: string): string => page.replace(/Made <time[\s\S]*?<\/time>/, '')
  expect(timeless(second.html)).toBe(timeless(first.html))
})

test('a level that does not exist is a TypeError', async () => {
  await using store = memory()
  // @ts-expect-error a level of nobody
  await expect(store.report({ verify: 'deep' })).rejects.toThrow(TypeError)
})
