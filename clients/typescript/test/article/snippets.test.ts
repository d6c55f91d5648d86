/**
 * Takes each block of `snippets.md` as it stands, with an import and the handles of the first block before it, compiles
 * it against the built package with tsc's strictest settings, and runs it with Node against a server of its own.
 */
import { execFile, execFileSync, spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { Warp } from "../../src/node.js"
import { type RunningServer, servers } from "../server/servers.js"

const PACKAGE = fileURLToPath(new URL("../..", import.meta.url))
const TEXT = readFileSync(new URL("snippets.md", import.meta.url), "utf8")
const BLOCKS = [...TEXT.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, block]) => block!)
/** The lines that the other blocks take for granted. */
const HANDLES = BLOCKS[0]!.split("\n").slice(0, 2).join("\n")
/** What a block's values are, for the test to see. */
const SHOW = `\nconsole.log(JSON.stringify({ result: VALUE }))\n`

let folder: string

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "warp-snippets-"))
  mkdirSync(join(folder, "node_modules"))
  symlinkSync(PACKAGE, join(folder, "node_modules", "warp-db"))
  writeFileSync(join(folder, "package.json"), `{ "type": "module" }`)
})

afterAll(() => rmSync(folder, { recursive: true }))

/** The program of a block. The article's port is 9090; a test's server has another one. */
function program(n: number, port: number, show?: string): string {
  const head = `import { Warp } from "warp-db"\n${n === 0 ? "" : `${HANDLES}\n`}`
  const tail = show === undefined ? "" : SHOW.replace("VALUE", show)
  return `${head}${BLOCKS[n]!}${tail}`.replace("port: 9090", `port: ${port}`)
}

test("there are the five blocks of the article", () => {
  expect(BLOCKS).toHaveLength(5)
  expect(HANDLES).toBe(`const db = new Warp({ host: "localhost", port: 9090 })\nconst alice = db.entity("user/alice")`)
})

test("each block compiles", () => {
  const files = BLOCKS.map((_, n) => {
    writeFileSync(join(folder, `block${n}.ts`), program(n, 9090))
    return `block${n}.ts`
  })
  const flags = "--noEmit --strict --target es2022 --module nodenext --lib es2022,dom,esnext.disposable --types".split(
    " ",
  )
  const tsc = join(PACKAGE, "node_modules/typescript/bin/tsc")
  execFileSync(process.execPath, [tsc, "--ignoreConfig", ...flags, "", ...files], { cwd: folder, encoding: "utf8" })
})

describe.each(servers)("with %s", (_name, start) => {
  let server: RunningServer
  let db: Warp

  beforeAll(async () => {
    server = await start()
    db = new Warp({ port: server.port, token: server.token })
  }, 60_000)

  afterAll(async () => {
    await db.close()
    await server.stop()
  })

  /** Runs a block, and gives what `show` is at its end. */
  async function run(n: number, show: string): Promise<unknown> {
    const file = join(folder, "run.mjs")
    writeFileSync(file, program(n, server.port, show))
    const env = { ...process.env, WARP_TOKEN: server.token }
    const { stdout } = await promisify(execFile)(process.execPath, [file], { env, timeout: 15_000 })
    return (JSON.parse(stdout.trim().split("\n").at(-1)!) as { result: unknown }).result
  }

  test("appends and reads, shows the history, exports and deletes", async () => {
    expect(await run(0, "balance")).toEqual({ balance: 4000 })
    const [credited, debited] = ["Credited", "Debited"].map((type, n) => ({
      type,
      amount: [5000, 1000][n],
      seq: n + 1,
    }))
    expect(await run(1, "history.map(({ type, seq, amount }) => ({ type, amount, seq }))")).toEqual([credited, debited])
    expect(await run(2, "allEvents.map(({ type, payload, seq }) => ({ type, ...payload, seq }))")).toEqual([
      credited,
      debited,
    ])
    expect(await db.entity("user/alice").history()).toEqual([])
  })

  test("commits the saga", async () => {
    await db.entity("user/alice").append("Credited", { amount: 5000 }, { aggregate: "Account" })
    expect(await run(3, "result.resultType")).toBe("COMMITTED")
  })

  test("queries, and prints events as they come", async () => {
    await db.entity("user/rich").append("Credited", { amount: 150_000 }, { aggregate: "Account" })
    await db.entity("user/rich").wait(1, { projection: true })
    const file = join(folder, "stream.mjs")
    const shown = `console.log(JSON.stringify(accounts))\n\n// Real-time`
    writeFileSync(file, program(4, server.port).replace("// Real-time", shown))
    const child = spawn(process.execPath, [file], { env: { ...process.env, WARP_TOKEN: server.token } })
    let printed = ""
    child.stdout.on("data", (text: Buffer) => (printed += text.toString()))
    child.stderr.on("data", (text: Buffer) => (printed += text.toString()))
    const writer = setInterval(
      () => void db.entity("user/alice").append("Credited", { amount: 5000 }, { aggregate: "Account" }),
      100,
    )
    for (const end = Date.now() + 10_000; !printed.includes("Credited") && Date.now() < end;) {
      await new Promise((resolve) => setTimeout(resolve, 20))
    }
    clearInterval(writer)
    child.kill()
    expect(printed).toMatch(/^\[\{"id":"user\/\w+","balance":150000\}\]$/m)
    expect(printed).toMatch(/^Credited \{ amount: 5000 \}$/m)
  })
})
