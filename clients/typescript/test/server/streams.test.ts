/** Streams of the real server, read by the client of Durable Streams. */
import { stream, type StreamOptions } from "@durable-streams/client"
import { afterAll, beforeAll, describe, expect, test } from "vitest"

import { Warp } from "../../src/node.js"
import { hasServer, type RealServer, startServer } from "./servers.js"

interface Event {
  entity: string
  seq: number
  type: string
  payload: { amount: number; text?: string }
  shard: number
}

describe.skipIf(!hasServer)("streams, read by @durable-streams/client", () => {
  let server: RealServer
  let db: Warp
  let last = 0

  const account = { aggregate: "Account" } as const
  /** An entity that no other test has. */
  const fresh = () => db.entity(`stream/${++last}`)
  const credits = (count: number) =>
    Array.from({ length: count }, (_, n) => ({ type: "Credited", payload: { amount: n + 1 }, ...account }))

  /** What reads an entity's stream, or a shard's. */
  const options = (of: string | number, more: Partial<StreamOptions> = {}): StreamOptions => {
    const path = typeof of === "number" ? `shards/${of}` : `entities/${encodeURIComponent(of)}`
    return {
      url: `http://localhost:${server.port}/v1/contexts/bank/streams/${path}`,
      headers: { Authorization: `Bearer ${server.token}` },
      sseResilience: { logWarnings: false },
      ...more,
    }
  }

  /** Follows a stream until there are so many events, and goes on where it was when it is cut off. */
  async function follow(of: string | number, count: number, live: "long-poll" | "sse", offset = "-1") {
    const events: Event[] = []
    while (events.length < count) {
      const response = await stream<Event>(options(of, { offset, live }))
      await new Promise<void>((resolve) => {
        const stop = response.subscribeJson((batch) => {
          events.push(...batch.items)
          offset = batch.offset
          if (events.length >= count) stop()
        })
        response.closed.then(resolve, () => resolve())
      })
    }
    return { events, offset }
  }

  beforeAll(async () => {
    server = await startServer()
    db = new Warp({ port: server.port, token: server.token, timeout: 30_000 })
  }, 60_000)

  afterAll(async () => {
    await db.close()
    await server.stop()
  })

  test("what is stored, in several chunks", async () => {
    const alice = fresh()
    const text = "x".repeat(1000)
    const events = credits(2000).map((event) => ({ ...event, payload: { ...event.payload, text } }))
    await alice.appendBatch(events)
    const response = await stream<Event>(options(alice.id))
    const items = await response.json()
    expect(items.map(({ seq }) => seq)).toEqual(events.map((_, n) => n + 1))
    expect(items[1999]).toMatchObject({ entity: alice.id, type: "Credited", payload: { amount: 2000, text } })
    expect(response.upToDate).toBe(true)
    // It goes on where it was.
    await alice.append("Credited", { amount: 7 }, account)
    const rest = await stream<Event>(options(alice.id, { offset: response.offset }))
    expect((await rest.json()).map(({ seq }) => seq)).toEqual([2001])
    const shard = await stream<Event>(options(items[0]!.shard))
    expect((await shard.json()).filter(({ entity }) => entity === alice.id)).toHaveLength(2001)
  })

  describe.each(["long-poll", "sse"] as const)("by %s", (live) => {
    test("an entity that is there later, and each event as it comes", async () => {
      const alice = fresh()
      const followed = follow(alice.id, 3, live)
      for (const amount of [1, 2, 3]) {
        await new Promise((resolve) => setTimeout(resolve, 200))
        await alice.append("Credited", { amount, text: "a\r\n\r\nevent: control\ndata: {}\n\n" }, account)
      }
      const { events, offset } = await followed
      expect(events.map(({ payload }) => payload.amount)).toEqual([1, 2, 3])
      expect(events[0]!.payload.text).toBe("a\r\n\r\nevent: control\ndata: {}\n\n")
      await alice.append("Credited", { amount: 4 }, account)
      expect((await follow(alice.id, 1, live, offset)).events).toMatchObject([{ seq: 4 }])
    })

    test("a shard, with the events of all of its entities", async () => {
      const first = fresh()
      await first.append("Credited", { amount: 1 }, account)
      const [{ shard }] = (await (await stream<Event>(options(first.id, { live: false }))).json()) as [Event]
      const { offset } = await stream(options(shard, { offset: "now", live: false }))
      const followed = follow(shard, 304, live, offset)
      for (let n = 0; n < 4; n++) await first.append("Credited", { amount: 1 }, account)
      await first.appendBatch(credits(300))
      expect((await followed).events.map(({ entity, seq }) => [entity, seq])).toEqual(
        Array.from({ length: 304 }, (_, n) => [first.id, n + 2]),
      )
    })

    test("each event once while the gateway is killed", async () => {
      const alice = fresh()
      const killer = setInterval(() => server.kill(), 1000)
      const count = 200
      const followed = follow(alice.id, count, live)
      try {
        for (let n = 1; n <= count; n++) {
          await alice.append("Credited", { amount: n }, account)
          await new Promise((resolve) => setTimeout(resolve, 10))
        }
      } finally {
        clearInterval(killer)
      }
      expect((await followed).events.map(({ seq }) => seq)).toEqual(credits(count).map((_, n) => n + 1))
    }, 60_000)

    test("nothing more of an entity that was deleted", async () => {
      const alice = fresh()
      await alice.appendBatch(credits(2))
      const { offset } = await follow(alice.id, 2, live)
      await alice.delete()
      await expect(stream(options(alice.id, { offset, live }))).rejects.toMatchObject({ status: 410 })
      await alice.append("Credited", { amount: 9 }, account)
      await expect(stream(options(alice.id, { offset, live }))).rejects.toMatchObject({ status: 410 })
      expect((await follow(alice.id, 1, live)).events).toMatchObject([{ seq: 1, payload: { amount: 9 } }])
    })
  })

  test("what needs a token, and is refused", async () => {
    const refused = (of: string | number, more: Partial<StreamOptions>) => stream(options(of, more))
    await expect(refused("a", { headers: {} })).rejects.toMatchObject({ status: 401 })
    const headers = { Authorization: `Bearer ${server.reader}` }
    await expect(refused("a", { headers })).rejects.toMatchObject({ status: 403 })
    await expect(refused(99, {})).rejects.toMatchObject({ status: 404 })
    await expect(refused("a", { offset: "nonsense" })).rejects.toMatchObject({ status: 400 })
  })
})
