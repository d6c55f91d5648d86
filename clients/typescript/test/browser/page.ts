/** A headless Chromium with a page that has the built package, for tests in a browser. */
import { existsSync, readFileSync } from "node:fs"
import { createServer, type Server } from "node:http"
import type { AddressInfo } from "node:net"
import { fileURLToPath } from "node:url"

import { type Browser, chromium, type Page } from "playwright-core"

const ROOT = fileURLToPath(new URL("../../", import.meta.url))

/** Where Chromium is: Debian's, or what WARP_CHROMIUM says. */
export const CHROMIUM = process.env["WARP_CHROMIUM"] ?? "/usr/bin/chromium"

export const hasChromium = existsSync(CHROMIUM)

const ARGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
]

/** Serves the built package, and an empty page, at an origin of its own. */
export class Site {
  private readonly http: Server
  private browser: Browser | undefined

  /**
   * @param root - The folder that is served, with a slash behind it.
   * @param token - What `/token` gives.
   */
  constructor(
    private readonly root = ROOT,
    token: () => Promise<string> = () => Promise.resolve(""),
  ) {
    this.http = createServer((request, response) => {
      const path = new URL(request.url ?? "/", "http://localhost").pathname
      if (path === "/token") return void token().then((given) => response.end(given))
      const file = `${this.root}${path.slice(1)}`
      if (path === "/empty.html")
        return response.setHeader("content-type", "text/html").end("<!doctype html><title>test</title>")
      if (path.includes("..") || !existsSync(file)) return response.writeHead(404).end()
      response.setHeader(
        "content-type",
        path.endsWith(".js") ? "text/javascript" : path.endsWith(".css") ? "text/css" : "text/html",
      )
      response.end(readFileSync(file))
    })
  }

  /** Listens. From then on there is an origin, such as for the server's list of origins. */
  async listen(): Promise<string> {
    await new Promise<void>((resolve) => this.http.listen(0, "127.0.0.1", resolve))
    return `http://localhost:${(this.http.address() as AddressInfo).port}`
  }

  /** Listens, unless it does, and opens a page. */
  async open(path = "/empty.html"): Promise<Page> {
    if (!this.http.listening) await this.listen()
    this.browser = await chromium.launch({ executablePath: CHROMIUM, headless: true, args: ARGS })
    const page = await this.browser.newPage()
    await page.goto(`http://localhost:${(this.http.address() as AddressInfo).port}${path}`)
    return page
  }

  /** Opens a page that has the built package as `Warp`. */
  async openWithWarp(): Promise<Page> {
    const page = await this.open()
    const content = `import { Warp } from "/dist/esm/browser.js"; globalThis.Warp = Warp`
    await page.addScriptTag({ type: "module", content })
    await page.waitForFunction(() => "Warp" in globalThis)
    return page
  }

  async close(): Promise<void> {
    await this.browser?.close()
    await new Promise((resolve) => this.http.close(resolve))
  }
}
