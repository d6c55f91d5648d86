/** The servers that tests run against: the fake one, and the real one where it can be started. */
import { FakeServer } from "../fake/server.js"

/** A server with a context that has the aggregate Account, and the table accounts. */
export interface RunningServer {
  port: number
  /** A token that may do everything. */
  token: string
  stop(): Promise<void>
}

async function fake(): Promise<RunningServer> {
  const server = new FakeServer()
  const port = await server.listen()
  return { port, token: server.token!, stop: () => server.close() }
}

export const servers: [name: string, start: () => Promise<RunningServer>][] = [["the fake server", fake]]
