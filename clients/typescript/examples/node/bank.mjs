// Opens two accounts, moves money between them, and shows what was stored.
//
//   WARP_TOKEN=warp_... node examples/node/bank.mjs
//
// It needs a server whose context has the aggregate Account. Run it twice: the transfer has an id, and happens once.
import { isWarpError, Warp } from "warp-db"

const db = new Warp({ host: "localhost", port: Number(process.env.WARP_PORT ?? 9090) })
const alice = db.entity("user/alice")
const bob = db.entity("user/bob")

// An append that expects an empty log: the second run says that there is something.
for (const account of [alice, bob]) {
  try {
    await account.append("Credited", { amount: 5000 }, { aggregate: "Account", expected: "no_stream" })
  } catch (error) {
    if (!isWarpError(error, "wrong_expected_seq")) throw error
    console.log(`${account.id} has ${error.parameters.actual} events already`)
  }
}

const debit = { type: "Debited", payload: { amount: 500 } }
const credit = { type: "Credited", payload: { amount: 500 } }
const { resultType } = await db
  .saga("transfer-001")
  .step(alice.id, debit, credit, { aggregate: "Account" })
  .step(bob.id, credit, debit, { aggregate: "Account" })
  .commit()
console.log(`transfer-001 is ${resultType}`)

for (const account of [alice, bob]) {
  console.log(account.id, await account.get("Account"))
  for (const event of await account.history()) {
    console.log(`  ${event.seq} ${event.recordedAt.toISOString()} ${event.type} ${event.amount}`)
  }
}
await db.close()
