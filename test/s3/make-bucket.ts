// Before the tests of `npm run test:s3`: makes their bucket.
import { makeBucket, serverEndpoint } from '../support/s3-server.ts'

export default async function setup(): Promise<void> {
  if (serverEndpoint !== undefined) await makeBucket()
}
