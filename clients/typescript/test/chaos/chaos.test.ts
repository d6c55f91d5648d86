/**
 * 50 clients append and subscribe while the gateway, the VM and connections are killed at random. Nothing that was
 * acknowledged is lost, nothing is stored twice, and every subscriber sees every event once.
 *
 * WARP_CHAOS_ROUNDS says how many rounds (6, with WARP_LONG=1 30), and WARP_CHAOS_SEED repeats the faults of a run.
 */
import { mkdtemp, rm } from "node:fs/promises"
import { createServer, type AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { expect, test } from "vitest"

import { Warp } from "../../src/node.js"
import { hasServer, type RealServer, signal, startServer } from "../server/servers.js"
import { followerFaults, missing, storedFaults } from "./checker.js"
import { byHttp } from "./http.js"
import { Proxy } from "./proxy.js"
import { Random } from "./random.js"
import { type Follows, Reader } from "./reader.js"
import type { Follower, Histories } from "./record.js"
import { type Fault, schedule } from "./schedule.js"
import { bySocket, type Events, Writer } from "./writer.js"

const SEED = Number(process.env["WARP_CHAOS_SEED"] ?? Math.floor(Math.random() * 1e9))
const ROUNDS = Number(process.env["WARP_CHAOS_ROUNDS"] ?? (process.env["WARP_LONG"] === undefined ? 6 : 30))
const CLIENTS = 50
/** Entities that all clients append to. */
const SHARED = ["shared/0", "shared/1", "shared/2", "shared/3", "shared/4"]
/** How long clients may take until all works again, and until they have got all events, in milliseconds. */
const RECOVERS = 60_000
const CATCHES_UP = 60_000

const sleep = (millis: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, millis))

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** The entity that one client alone appends to. */
const own = (n: number): string => `own/${String(n).padStart(2, "0")}`

/** What the client of a number follows. */
function following(n: number): [kind: Follower["kind"], prefix: string, Follows] {
  const shared = SHARED[n % SHARED.length]!
  switch (n % 10) {
    case 5:
      return ["once", "", {}]
    case 6:
      return ["once", "shared/", {}]
    case 7:
      return ["again", "", {}]
    case 8:
      return n < 30 ? ["once", "", { name: `alone-${n}` }] : ["again", "", { name: `again-${n}` }]
    case 9:
      return ["shared", "", { name: "group", consumers: 2 }]
    default:
      return n % 2 === 0 ? ["once", shared, { entity: shared }] : ["once", own(n), { entity: own(n) }]
  }
}

/** Makes a fault happen, and undoes it. */
async function happen(fault: Fault, server: RealServer, proxy: Proxy): Promise<void> {
  switch (fault.kind) {
    case "cut":
    case "cut_later":
      proxy.cut(fault.share, fault.isReset, fault.kind === "cut_later")
      return
    case "stall": {
      const goOn = proxy.stall(fault.share)
      await sleep(fault.pause)
      return goOn(fault.isCut)
    }
    case "kill_gateway":
      return server.kill()
    case "kill_vm":
      return signal(server.vm, "SIGKILL")
    case "freeze_gateway":
    case "freeze_vm": {
      const pid = fault.kind === "freeze_vm" ? server.vm : await server.gateway()
      signal(pid, "SIGSTOP")
      await sleep(fault.pause)
      signal(pid, "SIGCONT")
    }
  }
}

/** Names of clients for which nothing was acknowledged in time. */
async function stuck(writers: readonly Writer[]): Promise<string[]> {
  const left = new Set(writers)
  const all = Promise.all(writers.map((writer) => writer.works().then(() => left.delete(writer))))
  await Promise.race([all, sleep(RECOVERS)])
  return [...left].map(({ name }) => name)
}

async function histories(db: Warp<Events>): Promise<Histories> {
  const all: Histories = new Map()
  for await (const { id } of db.entities()) {
    const events = (await db.entity(id).export()).map(({ seq, id: event, payload }) => {
      return { entity: id, key: payload.key, seq, id: event }
    })
    all.set(id, events)
    expect(await db.entity(id).get("Account")).toEqual({ balance: events.length })
  }
  return all
}

test.skipIf(!hasServer)(
  `${ROUNDS} rounds of the seed ${SEED}: nothing is lost, nothing comes twice`,
  async () => {
    console.log(`chaos: to repeat this: make chaos-server ARGS="--rounds ${ROUNDS} --seed ${SEED}"`)
    const random = new Random(SEED)
    const directory = await mkdtemp(join(tmpdir(), "warp-chaos-"))
    const env = { WARP_DIR: directory, WARP_PORT: String(await freePort()), WARP_SILENT_MS: "2000" }
    const server = await startServer([], env)
    const { token } = server
    const proxy = new Proxy(server.port, new Random(SEED))
    const port = await proxy.listen()
    const retry = { initialDelay: 20, maxDelay: 500 }
    const heartbeat = 1000
    const faults: string[] = []
    const followers = new Map<string, Follower>()
    const dbs = Array.from(
      { length: CLIENTS },
      () => new Warp<Events>({ host: "127.0.0.1", port, token, retry, heartbeat }),
    )
    const writers = dbs.map((db, n) => {
      const append = n % 5 === 4 ? byHttp(port, token) : bySocket(db)
      return new Writer(`c${n}`, [own(n), ...SHARED], append, new Random(SEED + n))
    })
    const readers = dbs.map((db, n) => {
      const [kind, prefix, follows] = following(n)
      const name = kind === "shared" ? follows.name! : `${kind} ${n} ${JSON.stringify(follows)}`
      const follower = followers.get(name) ?? { name, kind, prefix, lives: [] }
      followers.set(name, follower)
      return new Reader(db, follower, follows, new Random(SEED - n))
    })
    const [writing, reading] = [writers, readers].map((all) => Promise.all(all.map((one) => one.run())))
    for (let round = 1; round <= ROUNDS; round++) {
      const planned = schedule(random)
      const begun = Date.now()
      await Promise.all(planned.map((fault) => sleep(fault.after).then(() => happen(fault, server, proxy))))
      const healed = Date.now()
      const without = await stuck(writers)
      const text = `round ${round}, ${healed - begun} and ${Date.now() - healed} ms, ${JSON.stringify(planned)}`
      console.log(text)
      if (without.length > 0) faults.push(`${text}: nothing of ${without.join()} was acknowledged in ${RECOVERS} ms`)
    }
    for (const writer of writers) writer.stop()
    await writing

    const direct = new Warp<Events>({ host: "127.0.0.1", port: server.port, token, timeout: 60_000 })
    const stored = await histories(direct)
    const isBehind = ({ prefix, lives, name }: Follower): boolean => missing(stored, name, prefix, lives).length > 0
    for (let behind = [...followers.values()], end = Date.now() + CATCHES_UP; behind.length > 0 && Date.now() < end;) {
      behind = behind.filter(isBehind)
      await sleep(500)
    }
    for (const reader of readers) reader.stop()
    await reading
    await Promise.all([...dbs, direct].map((db) => db.close()))
    await proxy.close()
    await server.stop()
    await rm(directory, { recursive: true })

    for (const { faults: own } of [...writers, ...readers]) faults.push(...own)
    const appends = {
      acknowledged: writers.flatMap((writer) => writer.appends.acknowledged),
      refused: writers.flatMap((writer) => writer.appends.refused),
      unknown: writers.flatMap((writer) => writer.appends.unknown),
    }
    faults.push(...storedFaults(stored, appends))
    for (const follower of followers.values()) faults.push(...followerFaults(stored, follower))
    const [acknowledged, refused, unknown] = Object.values(appends).map(({ length }) => length)
    const got = [...followers.values()].flatMap(({ lives }) => lives.map(({ length }) => length))
    console.log(
      `chaos: ${acknowledged} events acknowledged, ${refused} refused, of ${unknown} nobody knows; ` +
        `${got.reduce((sum, count) => sum + count, 0)} events came to ${followers.size} followers`,
    )
    expect(faults.slice(0, 20)).toEqual([])
    expect(acknowledged).toBeGreaterThan(ROUNDS * CLIENTS)
  },
  ROUNDS * 120_000 + 300_000,
)
