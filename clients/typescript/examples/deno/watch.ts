// Prints the events of all accounts as they come, for as long as it runs.
//
//   WARP_TOKEN=warp_... deno run --allow-net --allow-env examples/deno/watch.ts
//
// Stop the server and start it again: no event is lost and none comes twice. In a project of yours import
// "npm:warp-db"; the file deno.json beside this one takes the package that was built here.
import { Warp } from "warp-db"

type Events = { Account: { Credited: { amount: number }; Debited: { amount: number } } }

await using db = new Warp<Events>({
  port: Number(Deno.env.get("WARP_PORT") ?? 9090),
  onState: (state, error) => console.error(error === undefined ? state : `${state}: ${error.message}`),
})

const limit = Number(Deno.args[0] ?? Infinity)
let count = 0
for await (const event of db.subscribe("Account", { from: "beginning" })) {
  console.log(`${event.entity} ${event.seq}: ${event.type} ${event.amount}`)
  if (++count >= limit) break
}
