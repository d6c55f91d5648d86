// Appends with warp-db over its one connection, and prints what came of it as the client in Rust does:
// appends.mjs PORT TOKEN IN_FLIGHT SECONDS. It counts after a second, in which Node compiles what runs often.
import { Warp } from "../../clients/typescript/dist/esm/node.js"

const ENTITIES = 10_000
const PAYLOAD = { amount: 5, from: "acct-00001234", ok: true }

const [port, token, inFlight, seconds] = process.argv.slice(2)
const db = new Warp({ port: Number(port), token })
const from = performance.now() + 1000
const end = from + Number(seconds) * 1000
const times = []
let calls = 0

async function caller() {
  for (let begun = performance.now(); begun < end; begun = performance.now()) {
    const entity = db.entity(`load/${(calls++ * 31) % ENTITIES}`)
    await entity.append("Credited", PAYLOAD, { aggregate: "Account" })
    const now = performance.now()
    if (now >= from && now < end) times.push(now - begun)
  }
}

await Promise.all(Array.from({ length: Number(inFlight) }, caller))
await db.close()
times.sort((one, other) => one - other)
const at = (share) => Math.round(times[Math.floor(times.length * share)] * 1000)
console.log(
  JSON.stringify({
    calls: times.length,
    per_second: Math.round(times.length / Number(seconds)),
    p50_us: at(0.5),
    p99_us: at(0.99),
  }),
)
