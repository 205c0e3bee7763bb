import fc from 'fast-check'
import { expect, test } from 'vitest'
import { blake3 } from '../../src/format/blake3.ts'
import { toHex } from '../../src/format/hex.ts'
import { openJson, parseJsonObject, sealJson } from '../../src/format/json-file.ts'
import { flips, prefixes } from './pattern.ts'

test('a sealed file is readable JSON that ends in the checksum of all before it', () => {
  const text = Buffer.from(sealJson({ format: 'x', list: [{ a: 1 }, { a: 2 }], ids: [1, 2], none: [] })).toString()
  expect(text).toMatch(/^\{\n {2}"format": "x",\n {2}"list": \[\n {4}\{"a":1\},\n {4}\{"a":2\}\n {2}\],\n/)
  const [, covered, checksum] = /^([\s\S]*)"checksum": "([0-9a-f]{64})"\n\}\n$/.exec(text)!
  expect(checksum).toBe(toHex(blake3(Buffer.from(covered!))))
  expect(JSON.parse(text)).toMatchObject({ format: 'x', ids: [1, 2], none: [], checksum })
})

test('fields come back equal, whatever text is in them', () => {
  const text = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('"checksum": "', '\uFEFF', '__proto__'))
  fc.assert(
    fc.property(
      fc.dictionary(
        text.filter((key) => key !== 'checksum'),
        fc.oneof(text, fc.array(text)),
      ),
      (fields) => {
        const given = { format: 'x', ...fields }
        const opened = openJson(sealJson(given))
        expect(opened).toEqual({ ok: true, fields: JSON.parse(JSON.stringify(given)) as unknown })
      },
    ),
  )
})

test('every flipped bit, every shortened and every lengthened file is refused', () => {
  const bytes = sealJson({ format: 'x', text: 'é', list: [{ a: 1 }] })
  for (const flipped of flips(bytes, [1, 2, 4, 8, 16, 32, 64, 128])) expect(openJson(flipped).ok).toBe(false)
  for (const prefix of prefixes(bytes)) expect(openJson(prefix).ok).toBe(false)
  expect(openJson(Uint8Array.of(...bytes, 0x0a)).ok).toBe(false)
  expect(openJson(Uint8Array.of(0x20, ...bytes)).ok).toBe(false)
  expect(openJson(new Uint8Array(bytes.length)).ok).toBe(false)
})

test('a right checksum over something that is no JSON object is refused', () => {
  for (const text of ['{\n  ', '', '{ "a": ,\n  ', '[1,\n  ', '{ "a": "\uFFFD', '{\n  "a": 1\n  ']) {
    const covered = Buffer.from(text)
    const file = Buffer.concat([covered, Buffer.from(`"checksum": "${toHex(blake3(covered))}"\n}\n`)])
    expect(openJson(file).ok, text).toBe(text === '{\n  ')
  }
  const covered = Buffer.concat([Buffer.from('{ "a": "'), Buffer.of(0xff), Buffer.from('",\n  ')])
  const file = Buffer.concat([covered, Buffer.from(`"checksum": "${toHex(blake3(covered))}"\n}\n`)])
  expect(openJson(file)).toEqual({ ok: false, reason: 'it is not a JSON object' })
})

test('a file of more than 16 MiB is refused before it is read', () => {
  expect(openJson(new Uint8Array(16_777_217))).toMatchObject({ ok: false })
})

test('parseJsonObject takes objects and nothing else', () => {
  expect(parseJsonObject(Buffer.from('{"a":1}'))).toEqual({ a: 1 })
  for (const text of ['', '[]', 'null', '1', '{', '\uFEFF{}']) expect(parseJsonObject(Buffer.from(text))).toBeNull()
})
