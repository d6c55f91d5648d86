// What each runtime runs: calls, and a loop while connections are cut. Prints what it has seen as JSON.
const [, , format, port, token] = process.argv
const dist = new URL("../../dist/", import.meta.url)
const { Warp } =
  format === "require"
    ? (await import("node:module")).createRequire(import.meta.url)("../../dist/cjs/node.js")
    : await import(new URL("esm/node.js", dist).href)

const db = new Warp({ port: Number(port), token, bigIntegers: true, retry: { initialDelay: 10 } })
const alice = db.entity(`runtime/${format}/${Math.random()}`)
for (let n = 0; n < 20; n++) {
  await alice.append("Credited", { amount: 1 }, { aggregate: "Account" })
  await new Promise((resolve) => setTimeout(resolve, 10))
}
const seqs = []
for await (const event of alice.subscribe("Account", { from: "beginning", credit: 3 })) {
  seqs.push(event.seq)
  if (event.seq === 20) break
}
console.log(JSON.stringify({ state: await alice.get("Account"), seqs }))
// No close: a program that has nothing open ends.
