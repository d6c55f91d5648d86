/** The flights of the demo: the file that `demo/fetch` gets, and what the sqlite3 shell computes from it alone. */
import { execFileSync, spawnSync } from "node:child_process"
import { readFileSync } from "node:fs"

import { ROOT } from "../server/servers.js"

/** What is said of a flight; null is what the file has no value for. */
export interface Flight {
  date: string
  time: string
  carrier: string
  flight: number
  origin: string
  dest: string
  distance: number
  air_time: number | null
  dep_delay: number | null
  arr_delay: number | null
}

/** A row of the file: the aircraft, which is "" where the file names none, and its event. */
export interface Row {
  aircraft: string
  event: { id: string; type: "Flown" | "Cancelled"; payload: Flight; aggregate: "aircraft" }
}

/** A row of a table, and what must be in it. */
export type Line = Record<string, string | number | null>

const CACHE = `${ROOT}/_build/demo-cache`

/** Fetches the file where it is not there. False: it cannot be had, or there is no sqlite3. */
export function hasFlights(): boolean {
  const fetched = spawnSync(`${ROOT}/demo/fetch`, { encoding: "utf8" })
  const isThere = fetched.status === 0 && spawnSync("sqlite3", ["--version"]).status === 0
  if (!isThere) console.warn(`The tests with the demo's flights are skipped: no file or no sqlite3. ${fetched.stderr}`)
  return isThere
}

/** The rows of the months up to this one, in the order of their scheduled departure, as `demo/warp_demo_flights.erl`
 * makes events of them. */
export function* rows(lastMonth: number): Generator<Row> {
  const [header, ...lines] = readFileSync(`${CACHE}/flights-by-time.csv`, "utf8").trimEnd().split("\n")
  const names = header!.split(",")
  for (const [n, line] of lines.entries()) {
    const fields = line.split(",")
    const text = (name: string): string => fields[names.indexOf(name)]!
    const number = (name: string): number | null => (text(name) === "NA" ? null : Number(text(name)))
    if (Number(text("month")) > lastMonth) return
    const scheduled = text("sched_dep_time").padStart(4, "0")
    yield {
      aircraft: text("tailnum") === "NA" ? "" : text("tailnum"),
      event: {
        id: `row-${n + 1}`,
        type: text("dep_time") === "NA" ? "Cancelled" : "Flown",
        payload: {
          date: [text("year"), text("month").padStart(2, "0"), text("day").padStart(2, "0")].join("-"),
          time: `${scheduled.slice(0, -2)}:${scheduled.slice(-2)}`,
          carrier: text("carrier"),
          flight: number("flight")!,
          origin: text("origin"),
          dest: text("dest"),
          distance: number("distance")!,
          air_time: number("air_time"),
          dep_delay: number("dep_delay"),
          arr_delay: number("arr_delay"),
        },
        aggregate: "aircraft",
      },
    }
  }
}

const STATE = "id, flights, cancelled, miles, minutes, nullif(worst_delay, '') worst_delay"
const SHARE =
  "count(*) flights, sum(cancelled) cancelled, sum(iif(cancelled, 0, miles)) miles, " +
  "sum(iif(cancelled, 0, ifnull(minutes, 0))) minutes from flight"

/** What must be in each table, of the months up to this one, and how many rows must not be stored. Computed from the
 * file as it was published, whose rows are in another order, by the demo's own commands. */
export function computed(lastMonth: number): Record<"aircraft" | "routes" | "carriers" | "refused", Line[]> {
  const queries = {
    aircraft: `select ${STATE}, nullif(last_destination, '') last_destination from direct order by id`,
    routes: `select origin || '-' || dest id, ${SHARE} group by origin, dest order by 1`,
    carriers: `select carrier id, ${SHARE} group by carrier order by 1`,
    refused: "select row from refused",
  }
  const commands = [
    "create table direct(id text, flights integer, cancelled integer, miles integer, minutes integer, " +
      "worst_delay integer, last_destination text)",
    `.import --csv "${CACHE}/flights.csv" source`,
    `delete from source where cast(month as integer) > ${lastMonth}`,
    `.read "${ROOT}/demo/flights.sql"`,
    ".mode json",
    // One list a table: the shell prints nothing where there is no row.
    ...Object.entries(queries).flatMap(([table, query]) => [`.print "${table}"`, query]),
  ]
  const args = ["-batch", "-bail", "", ...commands]
  const printed = execFileSync("sqlite3", args, { encoding: "utf8", maxBuffer: 2 ** 26 })
  const tables = Object.keys(queries).map((table) => {
    const list = new RegExp(`^${table}\n(\\[[^\\]]*\\])`, "m").exec(printed)
    return [table, list === null ? [] : (JSON.parse(list[1]!) as Line[])] as const
  })
  return Object.fromEntries(tables) as ReturnType<typeof computed>
}
