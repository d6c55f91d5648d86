/**
 * The demo's flights through the client: a fresh server gets them from Node while its gateway is killed, and then every
 * state and every row of the read model is compared with what the sqlite3 shell computes from the file alone, as
 * `make demo` does. It takes the flights of January, with WARP_LONG those of the year.
 */
import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { Warp } from "../../src/node.js"
import { hasServer, type RealServer, startServer } from "../server/servers.js"
import { computed, type Flight, hasFlights, type Line, type Row, rows } from "./file.js"

type Events = { aircraft: { Flown: Flight; Cancelled: Flight } }

const LAST_MONTH = process.env["WARP_LONG"] === undefined ? 1 : 12
const TABLES = ["aircraft", "routes", "carriers"] as const
/** So many rows are under way at once. */
const PIECE = 5000

describe.skipIf(!hasServer || !hasFlights())("the demo's flights", () => {
  let server: RealServer
  let db: Warp<Events, { aircraft: Line }>
  let connections = 0

  beforeAll(async () => {
    server = await startServer([], { WARP_CONTEXT: "flights" })
    db = new Warp({
      port: server.port,
      token: server.token,
      timeout: 120_000,
      onState: (state) => void (connections += state === "open" ? 1 : 0),
    })
  }, 60_000)

  afterAll(async () => {
    await db.close()
    await server.stop()
  })

  /** Appends these rows. Those of an aircraft go together, and so stay in order; all aircraft are under way at once. */
  async function load(piece: Row[]): Promise<number> {
    const byAircraft = new Map<string, Row["event"][]>()
    for (const { aircraft, event } of piece) {
      if (aircraft === "") continue
      const events = byAircraft.get(aircraft)
      if (events === undefined) byAircraft.set(aircraft, [event])
      else events.push(event)
    }
    const appends = [...byAircraft].map(async ([aircraft, events]) => {
      const [first] = events
      if (events.length > 1) return (await db.entity(aircraft).appendBatch(events)).ids.length
      const { type, payload, ...options } = first!
      await db.entity(aircraft).append(type, payload, options)
      return 1
    })
    return (await Promise.all(appends)).reduce((sum, count) => sum + count, 0)
  }

  /** A table of the read model, without the columns that are Warp's own. */
  const table = (name: string, [first]: Line[]): Promise<Line[]> =>
    db.query<Line>(`select ${Object.keys(first!).join(", ")} from ${name} order by id`)

  test(
    "are stored once, and each state and row is what the file says",
    async () => {
      const all = [...rows(LAST_MONTH)]
      const wanted = computed(LAST_MONTH)
      const killAt = Math.floor(all.length / PIECE / 2) * PIECE
      let stored = 0
      const began = performance.now()
      for (let at = 0; at < all.length; at += PIECE) {
        const loading = load(all.slice(at, at + PIECE))
        if (at === killAt) setTimeout(() => server.kill(), 20)
        stored += await loading
      }
      const seconds = (performance.now() - began) / 1000
      console.log(`${stored} flights in ${seconds.toFixed(1)} s, ${Math.round(stored / seconds)} events/s from Node`)
      expect(connections).toBeGreaterThan(1)
      expect(stored).toBe(all.length - wanted.refused.length)
      // Again from the first row, as somebody does who does not know how far the first load came.
      await load(all.slice(0, PIECE))

      const states = wanted.aircraft.map(async ({ id }) => ({ id, ...(await db.entity(String(id)).get("aircraft")) }))
      expect(await Promise.all(states)).toEqual(wanted.aircraft)
      await Promise.all(
        wanted.aircraft.map(({ id, flights }) => db.entity(String(id)).wait(Number(flights), { projection: true })),
      )
      for (const name of TABLES) {
        expect(await table(name, wanted[name])).toEqual(wanted[name])
        expect(wanted[name].reduce((sum, { flights }) => sum + Number(flights), 0)).toBe(stored)
      }

      const most = wanted.aircraft.reduce((one, other) =>
        Number(other["flights"]) > Number(one["flights"]) ? other : one,
      )
      await db.entity(String(most["id"])).delete()
      const left = async (): Promise<number[]> => {
        const sums = TABLES.map((name) => db.query<{ sum: number }>(`select sum(flights) sum from ${name}`))
        return (await Promise.all(sums)).map(([row]) => row!.sum)
      }
      await expect.poll(left, { timeout: 30_000 }).toEqual(TABLES.map(() => stored - Number(most["flights"])))
    },
    LAST_MONTH === 1 ? 120_000 : 900_000,
  )
})
