/** The built package in Chromium, with the real server. */
import type { Page } from "playwright-core"
import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { Warp as NodeWarp } from "../../src/node.js"
import type { Warp as WarpType } from "../../src/browser.js"
import { hasServer, type RealServer, startServer } from "../server/servers.js"
import { hasChromium, Site } from "./page.js"

declare const Warp: typeof WarpType

describe.skipIf(!hasChromium || !hasServer)("in Chromium, with the real server", () => {
  const site = new Site()
  const stranger = new Site()
  let server: RealServer
  let page: Page
  let db: NodeWarp

  beforeAll(async () => {
    server = await startServer([await site.listen()])
    db = new NodeWarp({ port: server.port, token: server.token })
    page = await site.openWithWarp()
  }, 60_000)

  afterAll(async () => {
    await Promise.all([db.close(), site.close(), stranger.close()])
    await server.stop()
  })

  test("a page with a token that expires soon appends and follows", async () => {
    const { token } = await db.token({ seconds: 60, scopes: [{ context: "bank", prefix: "page/" }] })
    const seen = await page.evaluate(
      async ([port, token]) => {
        const db = new Warp({ port, token })
        const alice = db.entity("page/alice")
        const account = { aggregate: "Account" }
        await Promise.all([1, 2, 3].map((amount) => alice.append("Credited", { amount }, account)))
        const seqs: number[] = []
        for await (const event of alice.subscribe("Account", { from: "beginning" })) {
          seqs.push(event.seq)
          if (event.seq === 3) void alice.append("Credited", { amount: 4 }, account)
          if (event.seq === 4) break
        }
        const code = await db
          .entity("other/bob")
          .get("Account")
          .then(
            () => "a state",
            (error: { code: string }) => error.code,
          )
        const state = await alice.get("Account")
        await db.close()
        return { seqs, state, code }
      },
      [server.port, token] as const,
    )
    expect(seen).toEqual({ seqs: [1, 2, 3, 4], state: { balance: 10 }, code: "forbidden" })
  })

  test("a loop goes on when the gateway was killed", async () => {
    const killer = setInterval(() => void server.kill(), 500)
    const writing = (async () => {
      for (let n = 0; n < 100; n++) {
        await db.entity("page/killed").append("Credited", { amount: 1 }, { aggregate: "Account", timeout: 20_000 })
        await new Promise((resolve) => setTimeout(resolve, 15))
      }
    })()
    const seqs = await page.evaluate(
      async ([port, token]) => {
        const db = new Warp({ port, token, retry: { initialDelay: 10, maxDelay: 200 } })
        const got: number[] = []
        for await (const event of db.entity("page/killed").subscribe(undefined, { from: "beginning" })) {
          got.push(event.seq)
          if (event.seq === 100) break
        }
        await db.close()
        return got
      },
      [server.port, server.token] as const,
    )
    clearInterval(killer)
    await writing
    expect(seqs).toEqual(Array.from({ length: 100 }, (_, n) => n + 1))
  }, 60_000)

  test("a page of another origin is refused", async () => {
    const other = await stranger.openWithWarp()
    const code = await other.evaluate(
      ([port, token]) =>
        new Warp({ port, token, timeout: 500 })
          .entity("page/alice")
          .get("Account")
          .then(
            () => "a state",
            (error: { code: string }) => error.code,
          ),
      [server.port, server.token] as const,
    )
    expect(code).toBe("unreachable")
  })
})
