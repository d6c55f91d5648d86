/** The built package in Chromium. `npm run build` comes first. */
import type { Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"

import type { Warp as WarpType } from "../../src/browser.js"
import { FakeServer } from "../fake/server.js"
import { CHROMIUM, hasChromium, Site } from "./page.js"

declare const Warp: typeof WarpType

if (!hasChromium)
  console.warn(`The tests in a browser are skipped: there is no ${CHROMIUM}. WARP_CHROMIUM can name another one.`)

describe.skipIf(!hasChromium)("in Chromium", () => {
  const site = new Site()
  let server: FakeServer
  let page: Page

  beforeAll(async () => {
    server = new FakeServer()
    await server.listen()
    page = await site.openWithWarp()
  })

  afterAll(async () => {
    await site.close()
    await server.close()
  })

  test("calls, batches, subscriptions and the end work over the platform's WebSocket", async () => {
    const seen = await page.evaluate(async (port) => {
      const db = new Warp({ port, token: "warp_secret" })
      const alice = db.entity("user/alice")
      await alice.append("Credited", { amount: 5000 }, { aggregate: "Account" })
      const both = await Promise.all(
        [1, 2].map((amount) => alice.append("Debited", { amount }, { aggregate: "Account" })),
      )
      const seqs: number[] = []
      for await (const event of alice.subscribe("Account", { from: "beginning" })) {
        seqs.push(event.seq)
        if (event.seq === 3) break
      }
      const state = await alice.get("Account")
      await db.close()
      return { state, seqs, both: both.map(({ seq }) => seq), end: db.state }
    }, server.port)
    expect(seen).toEqual({ state: { balance: 4997 }, seqs: [1, 2, 3], both: [2, 3], end: "closed" })
    expect(server.headers[0]?.["sec-websocket-protocol"]).toContain("warp.bearer.warp_secret")
    const batches = server.messages.filter(
      (message) => Array.isArray(message) && (message as { op: string }[])[0]?.op === "append",
    )
    expect(batches).toHaveLength(1)
  })

  test("a loop goes on over connections that are cut", async () => {
    const cutter = setInterval(() => server.cut(), 50)
    const writer = setInterval(() => server.store.append("user/bob", [{ type: "Credited", payload: { amount: 1 } }]), 5)
    const seqs = await page.evaluate(async (port) => {
      const db = new Warp({ port, token: "warp_secret", retry: { initialDelay: 5 } })
      const got: number[] = []
      for await (const event of db.entity("user/bob").subscribe(undefined, { from: "beginning" })) {
        got.push(event.seq)
        if (event.seq === 100) break
      }
      await db.close()
      return got
    }, server.port)
    clearInterval(cutter)
    clearInterval(writer)
    expect(seqs).toEqual(Array.from({ length: 100 }, (_, n) => n + 1))
  })

  test("a token that expired is asked for again, and a fixed one is an error", async () => {
    server.token = "warp_2"
    const asked = await page.evaluate(async (port) => {
      let count = 0
      const db = new Warp({ port, token: () => Promise.resolve(`warp_${++count}`), retry: { initialDelay: 5 } })
      await db.entity("a").get("Account")
      await db.close()
      return count
    }, server.port)
    expect(asked).toBe(2)
    const code = page.evaluate(async (port) => {
      const db = new Warp({ port, token: "warp_2" })
      const subscription = db.subscribe()
      await subscription.ready()
      return subscription.next().then(
        () => "an event",
        (error: { code: string }) => error.code,
      )
    }, server.port)
    while (![...server.connections].some(({ subscriptions }) => subscriptions.size > 0))
      await new Promise((resolve) => setTimeout(resolve, 5))
    for (const connection of server.connections) connection.close(4401, "revoked")
    expect(await code).toBe("unauthorized")
  })

  test("a server that does not answer is given up, and one that answers is not", async () => {
    const run = (millis: number): Promise<string[]> =>
      page.evaluate(
        async ([port, millis]) => {
          const states: string[] = []
          const db = new Warp({ port, token: "warp_2", heartbeat: 50, onState: (state) => states.push(state) })
          await db.subscribe().ready()
          await new Promise((resolve) => setTimeout(resolve, millis))
          await db.close()
          return states
        },
        [server.port, millis] as const,
      )
    expect(await run(500)).toEqual(["connecting", "open", "closed"])
    server.fault = ({ op }) => (op === "unsubscribe" ? "silence" : "answer")
    expect((await run(500)).slice(0, 4)).toEqual(["connecting", "open", "waiting", "connecting"])
    server.fault = () => "answer"
  })
})
