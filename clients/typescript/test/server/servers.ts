/** The servers that tests run against: the fake one, and the real one where it was built. */
import { spawn, spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

import { FakeServer } from "../fake/server.js"

/** A server with a context that has the aggregate Account, and the table accounts, unless it is another context. */
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
  /** The process of its VM, which is another one after a kill. */
  readonly vm: number
  /** The process of its gateway. Undefined while there is none, or the VM does not say. */
  gateway(): Promise<number | undefined>
  /** Kills the gateway, and with it all connections. It is started again on the same port. */
  kill(): Promise<void>
}

/** What the server says when it listens, or is asked for its gateway. */
type Said = { port: number; vm: number; token: string; reader: string } | { gateway: number | null }

/** How long a server may take to say which its gateway is, in milliseconds. */
const ANSWER_MS = 1000

const SCRIPT = fileURLToPath(new URL("run-server", import.meta.url))
/** The folder of the project in which the server was built. */
export const ROOT = process.env["WARP_ROOT"] ?? fileURLToPath(new URL("../../../..", import.meta.url))

/** Whether the real server was built, in WARP_ROOT or this repository. */
export const hasServer =
  existsSync(`${ROOT}/_build/default/lib/warp_server/priv/warp_gateway`) && spawnSync("erl", ["-version"]).status === 0

if (!hasServer) console.warn("The tests with the real server are skipped: it was not built, see README.md.")

/**
 * Starts the real server. Pages of these origins may use it. With `WARP_DIR` in `env` it is started again with the same
 * data when its VM was killed; see `warp_bank_server.erl` for more.
 */
export async function startServer(origins: string[] = [], env: { [name: string]: string } = {}): Promise<RealServer> {
  const child = spawn(SCRIPT, [], {
    env: { ...process.env, WARP_ROOT: ROOT, WARP_ORIGINS: origins.join(" "), ...env },
    stdio: ["pipe", "pipe", "inherit"],
  })
  const ended = new Promise<void>((resolve) => child.on("exit", () => resolve()))
  let vm = 0
  const asking: ((gateway: number | undefined) => void)[] = []
  const said = await new Promise<Exclude<Said, { gateway: unknown }>>((resolve, reject) => {
    createInterface({ input: child.stdout }).on("line", (line) => {
      if (!/^\{"(port|gateway)"/.test(line)) return
      const one = JSON.parse(line) as Said
      if ("gateway" in one) return asking.splice(0).forEach((answer) => answer(one.gateway ?? undefined))
      vm = one.vm
      resolve(one)
    })
    child.on("exit", (code) => reject(new Error(`the server ended with code ${code}`)))
  })
  const gateway = (): Promise<number | undefined> =>
    new Promise((resolve) => {
      asking.push(resolve)
      child.stdin.write("gateway\n")
      setTimeout(resolve, ANSWER_MS)
    })
  return {
    ...said,
    get vm() {
      return vm
    },
    gateway,
    kill: async () => signal(await gateway(), "SIGKILL"),
    stop: () => {
      child.stdin.end()
      return ended
    },
  }
}

/** Sends a signal to a process, if there is one. */
export function signal(pid: number | undefined, name: NodeJS.Signals): void {
  try {
    if (pid !== undefined) process.kill(pid, name)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error
  }
}

async function startFake(): Promise<RunningServer> {
  const server = new FakeServer()
  const port = await server.listen()
  return { port, token: server.token!, stop: () => server.close() }
}

export const servers: [name: string, start: () => Promise<RunningServer>][] = [
  ["the fake server", startFake],
  ...(hasServer ? [["the real server", () => startServer()] as [string, () => Promise<RunningServer>]] : []),
]
