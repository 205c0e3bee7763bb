// `src/format/codec.ts` with a compressor that lies, for the worker that the test bundles.

import { compressFrame as honest } from '../../../src/format/codec.ts'
import { lying } from './lies.ts'

export * from '../../../src/format/codec.ts'
export const compressFrame = lying(honest)
