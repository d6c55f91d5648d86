/** The servers that tests run against: the fake one, and the real one where it was built. */
import { spawn, spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

import { FakeServer } from "../fake/server.js"

/** A server with a context that has the aggregate Account, and the table accounts. */
export interface RunningServer {
  port: number
  /** A token that may do everything. */
  token: string
  stop(): Promise<void>
}

/** The real server. */
export interface RealServer extends RunningServer {
  /** A token that may only read. */
  reader: string
  /** Kills the gateway, and with it all connections. It is started again on the same port. */
  kill(): void
}

const SCRIPT = fileURLToPath(new URL("run-server", import.meta.url))
const ROOT = process.env["WARP_ROOT"] ?? fileURLToPath(new URL("../../../..", import.meta.url))

/** Whether the real server was built, in WARP_ROOT or this repository. */
export const hasServer =
  existsSync(`${ROOT}/_build/default/lib/warp_server/priv/warp_gateway`) && spawnSync("erl", ["-version"]).status === 0

if (!hasServer) console.warn("The tests with the real server are skipped: it was not built, see README.md.")

/** Starts the real server. Pages of these origins may use it. */
export async function startServer(origins: string[] = []): Promise<RealServer> {
  const env = { ...process.env, WARP_ROOT: ROOT, WARP_ORIGINS: origins.join(" ") }
  const child = spawn(SCRIPT, [], { env, stdio: ["pipe", "pipe", "inherit"] })
  const ended = new Promise<void>((resolve) => child.on("exit", () => resolve()))
  const lines = createInterface({ input: child.stdout })
  const said = await new Promise<{ port: number; token: string; reader: string }>((resolve, reject) => {
    lines.on("line", (line) => line.startsWith(`{"port"`) && resolve(JSON.parse(line) as never))
    child.on("exit", (code) => reject(new Error(`the server ended with code ${code}`)))
  })
  return {
    ...said,
    kill: () => void child.stdin.write("kill\n"),
    stop: () => {
      child.stdin.end()
      return ended
    },
  }
}

async function startFake(): Promise<RunningServer> {
  const server = new FakeServer()
  const port = await server.listen()
  return { port, token: server.token!, stop: () => server.close() }
}

export const servers: [name: string, start: () => Promise<RunningServer>][] = [
  ["the fake server", startFake],
  ...(hasServer ? [["the real server", startServer] as [string, () => Promise<RunningServer>]] : []),
]
