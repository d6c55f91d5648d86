/**
 * The built package in other runtimes, as far as they are there: `deno` and `bun` on the path or where WARP_DENO and
 * WARP_BUN say, and an older Node where WARP_NODE18 says. And the examples, as their heads say how to run them.
 */
import { execFile, spawnSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { promisify } from "node:util"

import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { FakeServer } from "../fake/server.js"
import { type RunningServer, servers } from "../server/servers.js"

const PACKAGE = fileURLToPath(new URL("../..", import.meta.url))
const DENO = process.env["WARP_DENO"] ?? "deno"

const runtimes: [name: string, command: string, ...args: string[]][] = [
  ["Node", process.execPath],
  ["Node 18", process.env["WARP_NODE18"] ?? "node18"],
  ["Deno", DENO, "run", "--allow-net", "--allow-env", "--allow-read"],
  ["Bun", process.env["WARP_BUN"] ?? "bun"],
]

const there = runtimes.filter(([, command]) => spawnSync(command, ["--version"]).status === 0)
const missing = runtimes.filter((runtime) => !there.includes(runtime)).map(([name]) => name)
if (missing.length > 0) console.warn(`The tests with ${missing.join(", ")} are skipped: they are not there.`)

function run(command: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<string> {
  const options = { cwd: PACKAGE, env: { ...process.env, ...env }, timeout: 20_000 }
  return promisify(execFile)(command, args, options).then(({ stdout }) => stdout)
}

describe.each(there)("in %s", (_name, command, ...args) => {
  const server = new FakeServer()
  let cutter: NodeJS.Timeout

  beforeAll(async () => {
    await server.listen()
    cutter = setInterval(() => server.cut(), 60)
  })

  afterAll(async () => {
    clearInterval(cutter)
    await server.close()
  })

  test.each(["import", "require"])("by %s", async (format) => {
    const program = [...args, "test/runtimes/program.mjs", format, String(server.port), "warp_secret"]
    const said = JSON.parse(await run(command, program)) as unknown
    expect(said).toEqual({ state: { balance: 20 }, seqs: Array.from({ length: 20 }, (_, n) => n + 1) })
  })
})

describe.each(servers)("the examples, with %s", (_, start) => {
  let server: RunningServer
  let env: NodeJS.ProcessEnv

  beforeAll(async () => {
    server = await start()
    env = { WARP_PORT: String(server.port), WARP_TOKEN: server.token }
  }, 60_000)

  afterAll(() => server.stop())

  test("bank.mjs in Node, twice", async () => {
    expect(await run(process.execPath, ["examples/node/bank.mjs"], env)).toContain("transfer-001 is COMMITTED\n")
    const again = await run(process.execPath, ["examples/node/bank.mjs"], env)
    expect(again).toMatch(/^user\/alice has \d events already\nuser\/bob has \d events already\n/)
    expect(again).toMatch(/^ {2}1 \d{4}-\d\d-\d\dT\S+Z Credited 5000$/m)
  })

  test.skipIf(!there.some(([name]) => name === "Deno"))("watch.ts in Deno", async () => {
    await run(process.execPath, ["examples/node/bank.mjs"], env)
    const said = await run(DENO, ["run", "--allow-net", "--allow-env", "examples/deno/watch.ts", "2"], env)
    expect(said).toContain("user/alice 1: Credited 5000\n")
  })
})
