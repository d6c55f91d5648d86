import { execFile } from "node:child_process"
import { promisify } from "node:util"

import { afterEach, beforeEach, describe, expect, test } from "vitest"

import { isWarpError, Warp, type WarpOptions } from "../../src/node.js"
import { FakeServer } from "../fake/server.js"
import { Problem } from "../fake/store.js"

let server: FakeServer
let clients: Warp[] = []

function client(options: WarpOptions = {}): Warp {
  const made = new Warp({
    port: server.port,
    token: "warp_secret",
    context: "bank",
    retry: { initialDelay: 5 },
    ...options,
  })
  clients.push(made)
  return made
}

const credited = (db: Warp, amount: number, options = {}) =>
  db.entity("user/alice").append("Credited", { amount }, { aggregate: "Account", ...options })

/** Waits until it is so. */
async function until(is: () => boolean): Promise<void> {
  for (const end = Date.now() + 5000; !is() && Date.now() < end;) await new Promise((resolve) => setTimeout(resolve, 5))
  expect(is()).toBe(true)
}

beforeEach(async () => {
  server = new FakeServer()
  await server.listen()
})

afterEach(async () => {
  await Promise.all(clients.map((made) => made.close()))
  clients = []
  await server.close()
})

describe("calls", () => {
  test("the client connects with the first call, and not before", async () => {
    const db = client()
    expect(db.state).toBe("idle")
    await new Promise((resolve) => setTimeout(resolve, 20))
    expect(server.headers).toEqual([])
    await credited(db, 5000)
    expect(server.headers[0]).toMatchObject({
      authorization: "Bearer warp_secret",
      "sec-websocket-protocol": "warp.v1",
    })
    expect(db.state).toBe("open")
  })

  test("append, get, history, export, delete, command and query", async () => {
    const db = client()
    const alice = db.entity("user/alice")
    const { seq, id } = await credited(db, 5000)
    expect(seq).toBe(1)
    expect(id).toMatch(/^[\w-]{22}$/)
    expect(
      await alice.appendBatch([{ type: "Debited", payload: { amount: 1000 }, aggregate: "Account", id: "x" }]),
    ).toEqual({
      first: 2,
      last: 2,
      ids: ["x"],
    })
    expect(await alice.get("Account")).toEqual({ balance: 4000 })
    const history = await alice.history(100)
    expect(history).toMatchObject([
      { type: "Credited", amount: 5000, seq: 1, entity: "user/alice" },
      { type: "Debited", amount: 1000, seq: 2, eventType: "Debited" },
    ])
    expect(history[0]!.recordedAt).toBeInstanceOf(Date)
    expect(Object.keys(history[0]!)).toEqual([
      "type",
      "payload",
      "aggregate",
      "id",
      "seq",
      "entity",
      "recordedAt",
      "metadata",
      "schemaVsn",
    ])
    for (let n = 0; n < 6; n++) await credited(db, 1)
    expect((await alice.history(5)).map((event) => event.seq)).toEqual([1, 2, 3, 4, 5])
    expect((await alice.export()).map((event) => event.seq)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
    expect(await alice.command("Paid", { amount: 1 })).toEqual({ seqs: [9] })
    expect(await alice.delete()).toEqual({
      entity: "user/alice",
      deleted: true,
      shard: 3,
      events: 9,
      erasedAt: new Date(1_750_000_000_000),
      erasedFrom: ["log"],
      nodes: ["nonode@nohost"],
      backups: [7],
    })
    expect(await alice.history()).toEqual([])
    expect(await db.query("SELECT id, balance FROM accounts WHERE balance > ?", ["100000"])).toEqual([
      { id: "user/alice", balance: 150000 },
    ])
  })

  test("an export is whole, or an error", async () => {
    const db = client()
    for (let n = 0; n < 5; n++) await credited(db, 1)
    server.fault = ({ op, from }) => {
      if (op === "export" && from !== undefined) server.store.delete("user/alice")
      return "answer"
    }
    await expect(db.entity("user/alice").export()).rejects.toMatchObject({ code: "interrupted", retryable: true })
    expect(await db.entity("user/alice").export()).toEqual([])
  })

  test("calls of one turn go out as one message", async () => {
    const db = client()
    await credited(db, 1)
    server.messages.length = 0
    await Promise.all([credited(db, 2), credited(db, 3), db.entity("b").get("Account")])
    expect(server.messages).toHaveLength(1)
    expect(server.messages[0]).toMatchObject([{ op: "append" }, { op: "append" }, { op: "get" }])
  })

  test("so do those that follow from answers that came together", async () => {
    const db = client()
    const writer = async (n: number): Promise<void> => {
      for (let i = 0; i < 10; i++) await db.entity(`e${n}`).append("Credited", { amount: 1 }, { aggregate: "Account" })
    }
    await Promise.all(Array.from({ length: 50 }, (_, n) => writer(n)))
    expect(server.calls).toHaveLength(500)
    expect(server.messages.length).toBeLessThan(100)
  })

  test("an error of the server has its code, advice and parameters", async () => {
    const db = client()
    await credited(db, 1)
    const error: unknown = await credited(db, 1, { expected: 7 }).catch((thrown: unknown) => thrown)
    expect(isWarpError(error, "wrong_expected_seq")).toBe(true)
    expect(error).toMatchObject({
      retryable: false,
      advice: "Do it.",
      parameters: { actual: 1 },
      message: "It is wrong_expected_seq.",
    })
  })

  test("integers of any size come and go", async () => {
    const db = client({ bigIntegers: true })
    const big = 12n * 10n ** 306n + 1n
    await db.entity("user/alice").append("Credited", { amount: big }, { aggregate: "Account" })
    expect(server.texts.at(-1)).toContain(`{"amount":${big}}`)
    server.fault = () => ({ text: `{"id":ID,"ok":{"state":{"balance":${big}}}}` })
    expect(await db.entity("user/alice").get("Account")).toEqual({ balance: big })
    expect(await client().entity("user/alice").get("Account")).toEqual({ balance: Number(big) })
  })

  test("what is no JSON is refused before it is sent", async () => {
    await expect(credited(client(), NaN)).rejects.toMatchObject({ code: "bad_argument" })
    expect(server.calls).toEqual([])
  })

  test("a payload is an object", async () => {
    const alice = client().entity("user/alice")
    await expect(alice.append("Credited", 5 as never, { aggregate: "Account" })).rejects.toMatchObject({
      code: "bad_argument",
    })
  })
})

describe("calls that fail and are made again", () => {
  test.each(["lose", "cut", "half"] as const)(
    "an append whose connection is lost (%s) is stored once, with one id",
    async (fault) => {
      const db = client()
      let left = 3
      server.fault = ({ op }) => (op === "append" && left-- > 0 ? fault : "answer")
      const [{ seq }, second] = await Promise.all([credited(db, 1), credited(db, 2)])
      expect([seq, second.seq]).toEqual([1, 2])
      expect(server.store.of("user/alice")).toHaveLength(2)
      const ids = new Set(server.calls.map(({ event }) => (event as { id: string }).id))
      expect(ids.size).toBe(2)
    },
  )

  test("an answer that comes twice, or in pieces and parts, is one answer", async () => {
    server.fault = () => "twice"
    server.chunk = () => 1 + Math.floor(Math.random() * 3)
    const db = client()
    for (let n = 1; n <= 5; n++) expect((await credited(db, 1)).seq).toBe(n)
  })

  test("overloaded is tried again, rejected is not", async () => {
    const db = client()
    let left = 3
    server.fault = () => (left-- > 0 ? new Problem("overloaded", true) : "answer")
    expect((await credited(db, 1)).seq).toBe(1)
    server.fault = () => new Problem("rejected")
    const before = server.calls.length
    await expect(credited(db, 1)).rejects.toMatchObject({ code: "rejected" })
    expect(server.calls.length).toBe(before + 1)
  })

  test("attempts can be limited", async () => {
    server.fault = () => new Problem("overloaded", true)
    await expect(credited(client({ retry: { attempts: 2, initialDelay: 1 } }), 1)).rejects.toMatchObject({
      code: "overloaded",
    })
    expect(server.calls).toHaveLength(2)
  })

  test("a command that was sent is not sent again, and its outcome is unknown", async () => {
    server.fault = () => "cut"
    const paid = client().entity("user/alice").command("Paid", {})
    await expect(paid).rejects.toMatchObject({ code: "unknown_outcome", retryable: false })
    expect(server.calls).toHaveLength(1)
  })

  test("a command that is repeatable, was not sent, or was not carried out, is sent again", async () => {
    const alice = client().entity("user/alice")
    server.refuse = () => (server.headers.length < 3 ? 503 : undefined)
    await alice.command("Paid", {})
    let left = 1
    server.fault = () => (left-- > 0 ? new Problem("overloaded", true) : "answer")
    await alice.command("Paid", {})
    left = 1
    server.fault = () => (left-- > 0 ? "cut" : "answer")
    await alice.command("Paid", {}, { repeatable: true })
  })
})

test("a token that may have few calls under way gets them in small messages", async () => {
  const db = client()
  server.fault = () => {
    if (!Array.isArray(server.messages.at(-1)) || (server.messages.at(-1) as unknown[]).length <= 20) return "answer"
    for (const connection of server.connections) connection.close(4429, "too many")
    return "silence"
  }
  const all = await Promise.all(Array.from({ length: 200 }, () => credited(db, 1)))
  expect(all.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual(all.map((_, n) => n + 1))
  expect(server.headers.length).toBeLessThan(8)
})

describe("time", () => {
  test("a call without an answer ends by its timeout, and the server was told it", async () => {
    server.fault = () => "silence"
    await expect(client().entity("a").get("Account", { timeout: 80 })).rejects.toMatchObject({
      code: "timeout",
      retryable: true,
    })
    expect(Number(server.calls[0]!["timeout"])).toBeGreaterThan(0)
    expect(Number(server.calls[0]!["timeout"])).toBeLessThanOrEqual(80)
  })

  test("a server that is not there is unreachable when the time is over", async () => {
    const db = client({ timeout: 200 })
    await server.close()
    const error: unknown = await credited(db, 1).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({
      code: "unreachable",
      retryable: true,
      message: expect.stringContaining("ECONNREFUSED"),
    })
    await server.listen()
  })

  test("a server that comes in time is no error", async () => {
    const db = client()
    const { port } = server
    await server.close()
    const stored = credited(db, 1)
    await new Promise((resolve) => setTimeout(resolve, 50))
    server = new FakeServer()
    await server.listen(port)
    expect((await stored).seq).toBe(1)
  })

  test("a signal ends a call with its reason", async () => {
    server.fault = () => "silence"
    const ender = new AbortController()
    const got = client().entity("a").get("Account", { signal: ender.signal })
    await until(() => server.calls.length === 1)
    ender.abort()
    await expect(got).rejects.toMatchObject({ name: "AbortError" })
    await expect(client().entity("a").get("Account", { signal: ender.signal })).rejects.toMatchObject({
      name: "AbortError",
    })
    await expect(
      client()
        .entity("a")
        .get("Account", { signal: AbortSignal.timeout(20) }),
    ).rejects.toMatchObject({ name: "TimeoutError" })
  })

  test("a connection that nobody uses is closed, and opened again", async () => {
    const db = client({ idleTimeout: 30 })
    await credited(db, 1)
    await until(() => db.state === "idle" && server.connections.size === 0)
    expect((await credited(db, 1)).seq).toBe(2)
  })

  test("a server that says nothing any more is given up", async () => {
    const states: string[] = []
    const db = client({ onState: (state) => states.push(state), heartbeat: 100 })
    await credited(db, 1)
    for (const { socket } of server.connections) socket.pause()
    await expect(credited(db, 1, { timeout: 50 })).rejects.toMatchObject({ code: "timeout" })
    expect((await credited(db, 1)).seq).toBeGreaterThan(1)
    expect(states).toContain("waiting")
  })
})

describe("whether the server is there", () => {
  test("a connection on which nothing happens stays open, since the client asks", async () => {
    const states: string[] = []
    const db = client({ heartbeat: 40, onState: (state) => states.push(state) })
    await db.subscribe().ready()
    await new Promise((resolve) => setTimeout(resolve, 400))
    expect(states).toEqual(["connecting", "open"])
  })

  test("a call without an answer has the client ask, before the time for that has come", async () => {
    const db = client({ heartbeat: 2000 })
    await credited(db, 1)
    for (const { socket } of server.connections) socket.pause()
    await expect(credited(db, 1, { timeout: 50 })).rejects.toMatchObject({ code: "timeout" })
    await credited(db, 1, { timeout: 3000 })
  })

  test("a program that has nothing open ends, without closing the client", async () => {
    const { port } = server
    const script = `
      import { Warp } from ${JSON.stringify(new URL("../../dist/esm/node.js", import.meta.url).href)}
      const db = new Warp({ port: ${port}, token: "warp_secret" })
      await db.entity("a").append("Credited", {}, { aggregate: "Account" })
      const subscription = db.subscribe()
      await subscription.ready()
      await subscription.close()`
    const args = ["--input-type=module", "--eval", script]
    await promisify(execFile)(process.execPath, args, { timeout: 5000 })
    expect(server.store.of("a")).toHaveLength(1)
  })
})

describe("tokens", () => {
  test("a wrong token is an error at once", async () => {
    const error: unknown = await credited(client({ token: "warp_wrong" }), 1).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: "unauthorized", advice: expect.stringContaining("WARP_TOKEN") })
    expect(server.headers).toHaveLength(1)
  })

  test("without one the environment is asked", async () => {
    process.env["WARP_TOKEN"] = "warp_secret"
    const db = new Warp({ port: server.port })
    clients.push(db)
    expect((await credited(db, 1)).seq).toBe(1)
    delete process.env["WARP_TOKEN"]
    const other = new Warp({ port: server.port })
    clients.push(other)
    await expect(credited(other, 1)).rejects.toMatchObject({ code: "unauthorized" })
  })

  test("a function is asked again when the token has expired", async () => {
    let asked = 0
    const db = client({ token: () => Promise.resolve(`warp_${++asked}`) })
    server.token = "warp_2"
    await credited(db, 1)
    expect(asked).toBe(2)
    server.token = "warp_3"
    for (const connection of server.connections) connection.close(4401, "expired")
    await until(() => db.state !== "open")
    expect((await credited(db, 1)).seq).toBe(2)
    expect(asked).toBe(3)
  })

  test("a function is asked as often as tokens expire", async () => {
    const db = client({ token: () => "warp_secret" })
    for (let n = 1; n <= 5; n++) {
      expect((await credited(db, 1)).seq).toBe(n)
      for (const connection of server.connections) connection.close(4401, "expired")
      await until(() => db.state !== "open")
    }
  })

  test("a function whose tokens are all refused ends in an error", async () => {
    await expect(credited(client({ token: () => "warp_no" }), 1)).rejects.toMatchObject({ code: "unauthorized" })
    expect(server.headers).toHaveLength(3)
  })

  test("what cannot be a token goes into no header", async () => {
    await expect(credited(client({ token: "a\r\nX-Evil: 1" }), 1)).rejects.toMatchObject({ code: "unauthorized" })
    expect(server.headers).toEqual([])
  })

  test("a refusal is the server's problem", async () => {
    server.refuse = () => 421
    await expect(credited(client(), 1)).rejects.toMatchObject({ code: "refused", advice: "Ask." })
  })
})

describe("the end", () => {
  test("close waits for what is open, and refuses what comes", async () => {
    server.fault = () => 50
    const db = client()
    const stored = credited(db, 1)
    await db.close()
    expect((await stored).seq).toBe(1)
    expect(db.state).toBe("closed")
    await expect(credited(db, 1)).rejects.toMatchObject({ code: "client_closed" })
    await until(() => server.connections.size === 0)
  })

  test("a client that is closed while it connects leaves no connection", async () => {
    const db = client()
    let closed: Promise<void> | undefined
    server.refuse = () => {
      closed = db.close()
      return undefined
    }
    db.subscribe()
    await until(() => closed !== undefined)
    await closed
    expect(db.state).toBe("closed")
    await until(() => server.connections.size === 0)
  })

  test("await using closes", async () => {
    let kept: Warp
    {
      await using db = client()
      kept = db
      await credited(db, 1)
    }
    expect(kept.state).toBe("closed")
  })

  test("a server that stops is come back to", async () => {
    const db = client()
    await credited(db, 1)
    for (const connection of server.connections) connection.close(1001, "server stops")
    await until(() => server.connections.size === 0)
    expect((await credited(db, 1)).seq).toBe(2)
  })

  test("a message that the server cannot read fails alone", async () => {
    const db = client()
    await credited(db, 1)
    server.fault = () => {
      for (const connection of server.connections) connection.close(4400, "no call")
      return "silence"
    }
    await expect(credited(db, 1)).rejects.toMatchObject({ code: "protocol_error", message: "no call" })
    server.fault = () => "answer"
    await credited(db, 1)
  })

  test("too many calls at once fail, and so does a message that is too large", async () => {
    const db = client({ maxPending: 2 })
    const calls = [credited(db, 1), credited(db, 1), credited(db, 1)]
    await expect(calls[2]).rejects.toMatchObject({ code: "too_many_calls" })
    await Promise.all(calls.slice(0, 2))
    const large = client()
      .entity("a")
      .append("T", { text: "x".repeat(18_000_000) }, { aggregate: "A" })
    await expect(large).rejects.toMatchObject({ code: "message_too_large" })
  })
})

describe("a saga", () => {
  test("goes out as its builder made it", async () => {
    const action = (type: string) => ({ type, payload: { amount: 500 } })
    const result = await client()
      .saga("transfer-001")
      .step("user/alice", action("Debited"), action("Credited"), { aggregate: "Account", schemaVsn: 1 })
      .parallel((group) =>
        group
          .step("user/bob", action("Credited"), action("Debited"), { aggregate: "Account" })
          .step("user/eve", { run: "check", input: { a: 1 } }, { run: "uncheck" }, { aggregate: "Account" }),
      )
      .commit()
    expect(result).toMatchObject({ id: "transfer-001", resultType: "COMMITTED", steps: [{ compensationSeq: 2 }] })
    expect(server.calls[0]).toMatchObject({
      op: "saga",
      context: "bank",
      saga: "transfer-001",
      steps: [
        {
          entity: "user/alice",
          aggregate: "Account",
          schema_vsn: 1,
          forward: { type: "Debited" },
          compensate: { type: "Credited" },
        },
        [{ entity: "user/bob" }, { entity: "user/eve", forward: { run: "check", input: { a: 1 } } }],
      ],
    })
    expect(server.calls[0]).not.toHaveProperty("timeout")
  })

  test("is waited for as long as it takes, but not without a server", async () => {
    server.fault = () => 300
    const action = { type: "Debited", payload: {} }
    const db = client({ timeout: 100 })
    const commit = () => db.saga("t").step("a", action, action, { aggregate: "A" }).commit()
    expect((await commit()).resultType).toBe("COMMITTED")
    server.refuse = () => 503
    server.cut()
    await until(() => db.state !== "open")
    await expect(commit()).rejects.toMatchObject({ code: "unreachable" })
  })

  test("is committed again when the connection is lost", async () => {
    let left = 2
    server.fault = () => (left-- > 0 ? "cut" : "answer")
    const action = { type: "Debited", payload: {} }
    expect((await client().saga("t").step("a", action, action, { aggregate: "A" }).commit()).resultType).toBe(
      "COMMITTED",
    )
  })
})
