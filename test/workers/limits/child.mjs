// Under a limit on virtual memory:
//   node child.mjs persist|read <directory> <url of the package>
// Prints what came of it.

const [verb, directory, url] = process.argv.slice(2)
const { isHoldfastError, openStore } = await import(url)
const warnings = []
const store = await openStore(directory, { onWarning: ({ code }) => warnings.push(code) })
const codeOf = (error) => {
  if (isHoldfastError(error)) return error.code
  throw error
}

if (verb === 'persist') {
  const blobs = { small: text(200_000), large: text(9_000_000) }
  const { bytes } = await store.persist({ blobs })
  const snapshot = await store.load()
  const same = []
  for (const [name, blob] of Object.entries(blobs)) {
    same.push(Buffer.compare(await snapshot.blob(name).bytes(), blob) === 0)
  }
  await snapshot.dispose()
  const refused = await openStore(directory, { compression: 'zstd' })
  const zstd = await refused.persist({ blobs: { small: 'x' } }).then(() => 'done', codeOf)
  console.log(JSON.stringify({ compressed: bytes.written < bytes.total / 2, same, zstd, warnings }))
} else {
  const read = await store
    .load({ at: 1 })
    .then(async (snapshot) => await snapshot.blob('large').bytes().finally(snapshot.dispose))
    .then(() => 'read', codeOf)
  const verify = await store.verify().then(({ ok }) => (ok ? 'ok' : 'damaged'), codeOf)
  const repair = await store.repair().then(({ applied }) => (applied ? 'applied' : 'nothing to do'), codeOf)
  const persist = await store.persist({ blobs: { large: text(1_000_000) } }).then(() => 'done', codeOf)
  console.log(JSON.stringify({ read, verify, repair, persist }))
}
await store.close()

function text(bytes) {
  const lines = []
  for (let i = 0, length = 0; length < bytes; i++) {
    lines.push(`{"id":${i},"title":"entry number ${i}"}\n`)
    length += lines.at(-1).length
  }
  return Buffer.from(lines.join(''))
}
