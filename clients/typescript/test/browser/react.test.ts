/** The example with React, built by Vite as its users build it, in Chromium. */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

import react from "@vitejs/plugin-react"
import { build } from "vite"
import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { Warp } from "../../src/node.js"
import { FakeServer } from "../fake/server.js"
import { hasChromium, Site } from "./page.js"

describe.skipIf(!hasChromium)("the page with a live balance", () => {
  const built = mkdtempSync(join(tmpdir(), "warp-react-"))
  const server = new FakeServer()
  const site = new Site(`${built}/`, async () => {
    const db = new Warp({ port: server.port, token: "warp_secret" })
    const { token } = await db.token({ seconds: 60 })
    await db.close()
    return token
  })

  beforeAll(async () => {
    await server.listen()
    await build({
      root: fileURLToPath(new URL("../../examples/react", import.meta.url)),
      configFile: false,
      plugins: [react()],
      // In a project of its own it is found in node_modules, by the condition "browser".
      resolve: { alias: { "warp-db": fileURLToPath(new URL("../../dist/esm/browser.js", import.meta.url)) } },
      build: { outDir: built, emptyOutDir: true },
      logLevel: "warn",
    })
  }, 60_000)

  afterAll(async () => {
    await site.close()
    await server.close()
    rmSync(built, { recursive: true })
  })

  test("shows what is stored, what it appends itself, and what others append", async () => {
    server.store.append("user/alice", [{ type: "Credited", payload: { amount: 5000 } }])
    const page = await site.open(`/index.html?port=${server.port}`)
    const shows = (text: string): Promise<unknown> =>
      page.waitForFunction((wanted) => document.querySelector("#balance")?.textContent === wanted, text)
    await shows("5000")
    await page.click("#credit")
    await shows("5100")
    server.store.append("user/alice", [{ type: "Debited", payload: { amount: 100 } }])
    await shows("5000")
    server.cut()
    await page.click("#debit")
    await shows("4900")
    expect(await page.locator("[role=alert]").count()).toBe(0)
  })
})
