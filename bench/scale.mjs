// Computes the tables of docs/scale.md from the requests of each operation, which test/storage/object.test.ts counts.
//   node bench/scale.mjs
// Prices: AWS S3 Standard, us-east-1, as listed in 2025: https://aws.amazon.com/s3/pricing/

const PUT_PRICE = 0.005 / 1000
const GET_PRICE = 0.0004 / 1000
const GIB_MONTH_PRICE = 0.023
const MONTH_S = 30 * 86_400

const READERS = 1_000
const BUILDERS = 10
const STORED_GIB = 1_024
const PACK_MIB = 256
/** A segment of a blob and the node of its chunks are a request each. */
const RANGE_MIB = 2

/** PUT, POST and LIST cost alike; deletions nothing. */
const PERSIST = { puts: 5, gets: 1 }

function line(...cells) {
  console.log(`| ${cells.join(' | ')} |`)
}

const money = (dollars) => `$${dollars < 10 ? dollars.toFixed(2) : Math.round(dollars).toLocaleString('en-US')}`

console.log('Readers that follow, nothing new:\n')
line('look every', 'requests per second on HEAD', 'a month')
line('---', '---', '---')
for (const everyS of [1, 5, 60]) {
  const perSecond = READERS / everyS
  line(`${everyS} s`, Math.round(perSecond).toLocaleString('en-US'), money(perSecond * MONTH_S * GET_PRICE))
}

console.log('\nBuilders, each with a small snapshot every so often:\n')
line('snapshot every', 'swaps per second', 'requests a month, $')
line('---', '---', '---')
for (const everyS of [10, 60, 600]) {
  const perSecond = BUILDERS / everyS
  const cost = perSecond * MONTH_S * (PERSIST.puts * PUT_PRICE + PERSIST.gets * GET_PRICE)
  line(`${everyS} s`, perSecond.toFixed(2), money(cost))
}

const packs = Math.ceil((STORED_GIB * 1024) / PACK_MIB)
const ranges = (STORED_GIB * 1024) / RANGE_MIB
console.log('\nA cold load of all of it, by one reader:\n')
line('bandwidth', 'time', 'requests', 'requests, $')
line('---', '---', '---', '---')
for (const gbits of [1, 10, 25]) {
  const seconds = (STORED_GIB * 1024 ** 3 * 8) / (gbits * 1e9)
  const requests = 1 + 2 * packs + ranges
  line(
    `${gbits} Gbit/s`,
    `${Math.round(seconds / 60)} min`,
    requests.toLocaleString('en-US'),
    money(requests * GET_PRICE),
  )
}
console.log(`\n${packs.toLocaleString('en-US')} packs; storage ${money(STORED_GIB * GIB_MONTH_PRICE)} a month`)
