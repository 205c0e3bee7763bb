// Begins to save into a scratch directory, says so, and never comes to an end.
import { captureFileLater } from '../dist/local/saved-file.js'

const [directory] = process.argv.slice(2)
setInterval(() => {}, 1000)
await captureFileLater(directory, async () => {
  console.log('saving')
  await new Promise(() => {})
})
