import { afterEach, beforeEach, describe, expect, test } from "vitest"

import { Warp, type WarpOptions } from "../../src/node.js"
import { FakeServer } from "../fake/server.js"
import { Problem } from "../fake/store.js"

let server: FakeServer
let db: Warp

function client(options: WarpOptions = {}): Warp {
  return new Warp({
    port: server.port,
    token: "warp_secret",
    context: "bank",
    retry: { initialDelay: 2, maxDelay: 10 },
    ...options,
  })
}

function store(entity: string, count: number): void {
  for (let n = 0; n < count; n++) server.store.append(entity, [{ type: "Credited", payload: { amount: 1 } }])
}

async function until(is: () => boolean): Promise<void> {
  for (const end = Date.now() + 5000; !is() && Date.now() < end;) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(is()).toBe(true)
}

beforeEach(async () => {
  server = new FakeServer()
  await server.listen()
  db = client()
})

afterEach(async () => {
  await db.close()
  await server.close()
})

describe("a loop", () => {
  test("gets what is stored and what comes, and ends with break", async () => {
    store("user/alice", 3)
    const seqs: number[] = []
    for await (const event of db.entity("user/alice").subscribe("Account", { from: "beginning" })) {
      seqs.push(event.seq)
      expect(event.eventType).toBe("Credited")
      expect(event.payload).toEqual({ amount: 1 })
      if (event.seq === 3) store("user/alice", 1)
      if (event.seq === 4) break
    }
    expect(seqs).toEqual([1, 2, 3, 4])
    await until(() => server.calls.at(-1)?.op === "unsubscribe")
    expect(server.calls.at(-1)).not.toHaveProperty("context")
    expect([...server.connections][0]!.subscriptions.size).toBe(0)
  })

  test("begins now unless it is told otherwise", async () => {
    store("user/alice", 3)
    const subscription = db.entity("user/alice").subscribe("Account")
    await subscription.ready()
    store("user/alice", 1)
    expect((await subscription.next()).value?.seq).toBe(4)
  })

  test("ends with a signal, with close and with the client, without an error", async () => {
    const ender = new AbortController()
    const loop = async (subscription: AsyncIterable<unknown>): Promise<string> => {
      for await (const _ of subscription) throw new Error("no event was stored")
      return "ended"
    }
    const bySignal = db.subscribe(undefined, { signal: ender.signal })
    const byClose = db.subscribe()
    const byClient = db.subscribe()
    const ends = [bySignal, byClose, byClient].map(loop)
    await Promise.all([bySignal.ready(), byClose.ready(), byClient.ready()])
    ender.abort()
    await byClose.close()
    await db.close()
    expect(await Promise.all(ends)).toEqual(["ended", "ended", "ended"])
    expect(await loop(client().subscribe(undefined, { signal: AbortSignal.abort() }))).toBe("ended")
  })

  test("throws what the server refuses the subscription with", async () => {
    server.fault = ({ op }) => (op === "subscribe" ? new Problem("forbidden") : "answer")
    const subscription = db.subscribe()
    await expect(subscription.ready()).rejects.toMatchObject({ code: "forbidden" })
    await expect(subscription.next()).rejects.toMatchObject({ code: "forbidden" })
    expect(await subscription.next()).toEqual({ done: true, value: undefined })
  })

  test("subscribes again after an error that passes", async () => {
    store("user/alice", 1)
    let left = 3
    server.fault = ({ op }) => (op === "subscribe" && left-- > 0 ? new Problem("shard_unavailable", true) : "answer")
    expect((await db.subscribe(undefined, { from: "beginning" }).next()).value?.seq).toBe(1)
  })

  test("that is slow gets no more than its credit", async () => {
    store("user/alice", 100)
    const subscription = db.subscribe(undefined, { from: "beginning", credit: 10 })
    await subscription.ready()
    await new Promise((resolve) => setTimeout(resolve, 50))
    const acks = (): unknown[] => server.calls.filter(({ op }) => op === "ack")
    expect(acks()).toEqual([])
    for (let n = 1; n <= 100; n++) expect((await subscription.next()).value?.seq).toBe(n)
    await until(() => acks().length >= 9)
  })

  test("acknowledges what a turn handled as one message", async () => {
    store("user/alice", 50)
    const subscription = db.subscribe(undefined, { from: "beginning", credit: 1000 })
    for (let n = 0; n < 50; n++) await subscription.next()
    await until(() => server.calls.some(({ op }) => op === "ack"))
    expect(server.calls.filter(({ op }) => op === "ack").length).toBeLessThan(5)
  })

  test("wants a credit that makes sense", () => {
    expect(() => db.subscribe(undefined, { credit: 0 })).toThrow(expect.objectContaining({ code: "bad_argument" }))
  })
})

describe("connections that are cut", () => {
  test.each([1, 7, 100])("lose and double nothing, with a credit of %i", async (credit) => {
    server.chunk = () => 1 + Math.floor(Math.random() * 400)
    const cutter = setInterval(() => server.cut(), 7)
    const writer = setInterval(() => {
      for (let n = 0; n < 6; n++) store(`e${n}`, 1)
    }, 5)
    const checker = setInterval(() => {
      for (const { subscriptions } of server.connections) for (const sub of subscriptions.values()) sub.checkpoint()
    }, 11)
    const seqs = new Map<string, number>()
    let count = 0
    for await (const event of db.subscribe(undefined, { from: "beginning", credit })) {
      expect(event.seq).toBe((seqs.get(event.entity) ?? 0) + 1)
      seqs.set(event.entity, event.seq)
      if (++count % 50 === 0) await new Promise((resolve) => setTimeout(resolve, 3))
      if (count === 400) break
    }
    for (const timer of [cutter, writer, checker]) clearInterval(timer)
    expect(server.headers.length).toBeGreaterThan(3)
  })

  test("a subscription to now goes on where it began, not where the new connection finds it", async () => {
    const subscription = db.subscribe()
    await subscription.ready()
    server.refuse = () => 503
    server.cut()
    await until(() => db.state === "waiting")
    store("user/alice", 2)
    server.refuse = undefined
    expect((await subscription.next()).value?.seq).toBe(1)
    expect((await subscription.next()).value?.seq).toBe(2)
  })

  test("the loop waits while the server is not there", async () => {
    const subscription = db.subscribe(undefined, { from: "beginning" })
    await subscription.ready()
    const { port } = server
    await server.close()
    await until(() => db.state === "waiting")
    server = new FakeServer()
    await server.listen(port)
    store("user/alice", 1)
    expect((await subscription.next()).value?.seq).toBe(1)
  })

  test("a token that is refused for good ends the loop", async () => {
    const subscription = db.subscribe()
    await subscription.ready()
    for (const connection of server.connections) connection.close(4401, "revoked")
    await expect(subscription.next()).rejects.toMatchObject({
      code: "unauthorized",
      message: expect.stringContaining("revoked"),
    })
  })
})

describe("a name", () => {
  test("goes on behind what the loop has handled, in another client too", async () => {
    store("user/alice", 5)
    for await (const event of db.subscribe("Account", { name: "mail", from: "beginning" })) if (event.seq === 3) break
    await db.close()
    db = client()
    const again = db.subscribe("Account", { name: "mail" })
    expect((await again.next()).value?.seq).toBe(3)
    again.ack()
    await again.close()
    expect((await db.subscribe("Account", { name: "mail" }).next()).value?.seq).toBe(4)
  })

  test("is told of erasures until they are handled", async () => {
    store("user/alice", 1)
    const erased: string[] = []
    const subscription = db.subscribe(undefined, {
      name: "mail",
      from: "beginning",
      onErased: (entity) => void erased.push(entity),
    })
    await subscription.next()
    server.store.delete("user/alice")
    const next = subscription.next()
    await until(() => server.calls.some((call) => call["erased"] === "user/alice"))
    expect(erased).toEqual(["user/alice"])
    await subscription.close()
    expect(await next).toEqual({ done: true, value: undefined })
  })
})

describe("a fold", () => {
  const sum = (balance: number, event: { type: string; payload: { amount?: number } }): number =>
    balance + (event.payload.amount ?? 0)

  test("has what is stored, and then what comes", async () => {
    store("user/alice", 3)
    await using balance = db.entity("user/alice").fold(sum, 0)
    expect(await balance.ready()).toBe(3)
    const seen: number[] = []
    for await (const state of balance) {
      seen.push(state)
      if (state === 5) break
      store("user/alice", 1)
    }
    expect(seen).toEqual([3, 4, 5])
    expect(balance.seq).toBe(5)
  })

  test("begins anew when the entity is deleted", async () => {
    store("user/alice", 3)
    await using balance = db.entity("user/alice").fold(sum, 0, { aggregate: "Account" })
    await balance.ready()
    server.store.delete("user/alice")
    await until(() => balance.state === 0)
    store("user/alice", 1)
    await until(() => balance.state === 1)
  })

  test("that is closed before it has everything has no state, and its loop ends", async () => {
    server.fault = () => "silence"
    const fold = db.entity("user/alice").fold(sum, 0)
    const ready = fold.ready()
    const loop = fold[Symbol.asyncIterator]().next()
    await fold.close()
    await expect(ready).rejects.toMatchObject({ code: "client_closed" })
    expect(await loop).toEqual({ done: true, value: undefined })
  })

  test("throws what the reducer throws", async () => {
    store("user/alice", 1)
    const broken = db.entity("user/alice").fold(() => {
      throw new Error("broken")
    }, 0)
    await expect(broken.ready()).rejects.toThrow("broken")
    await expect(broken[Symbol.asyncIterator]().next()).rejects.toThrow("broken")
  })
})
