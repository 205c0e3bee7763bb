import { expect, test } from 'vitest'
import { openStore } from '../../src/open.ts'

// In a file of its own: nothing here imports holdfast/s3.

test('a URL of S3 is no directory of that name, and the message has the import to add', async () => {
  for (const location of ['s3://bucket/prefix', new URL('s3://bucket/prefix')]) {
    await expect(openStore(location)).rejects.toThrow(TypeError)
    await expect(openStore(location)).rejects.toThrow(/holdfast\/s3/)
  }
})
